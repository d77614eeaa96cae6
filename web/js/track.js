// One schedule over t: its segments as buttons, its boundaries as sliders, by pointer and by keyboard.

import { beforeStep, stepAt, toShare, toTime } from "./axis.js";
import { arrow, element, makeDraggable, shareAt, take } from "./dom.js";
import { openSegmentMenu, openTimeEntry } from "./edits.js";
import { moveBoundary, remove, setThreshold, setValue, span, valueText } from "./segments.js";
import { word } from "./words.js";

/** Segments that are narrower, in percent of the track, hide their value. */
const NARROW = 5;

export class Track {
  /** @param {Field} field @param {import("./timeline.js").Timeline} timeline */
  constructor(field, timeline) {
    this.field = field;
    this.timeline = timeline;
    this.element = element("div", "lumina-track", { "data-field": field });
    this.schedule = /** @type {Schedule} */ ({ values: [], thresholds: [] });
    this.segments = /** @type {HTMLElement[]} */ ([]);
    this.handles = /** @type {HTMLElement[]} */ ([]);
    /** Where the schedule was before the pointer took a boundary. @type {Schedule | null} */
    this.dragged = null;
  }

  /** @param {Schedule} schedule @param {boolean} readOnly @param {number} top value that reaches the top */
  show(schedule, readOnly, top) {
    this.schedule = schedule;
    this.segments = schedule.values.map((value, index) => this.segment(value, index, readOnly, top));
    this.handles = readOnly ? [] : schedule.thresholds.map((_, index) => this.handle(index));
    this.element.replaceChildren(...this.segments, ...this.handles);
    this.place();
  }

  /** Nothing to draw but why. @param {string} why */
  explain(why) {
    this.element.replaceChildren(element("span", "lumina-note", {}, why));
  }

  place() {
    const { schedule, timeline, field } = this;
    const { grid, axis } = timeline;
    const share = (/** @type {number} */ t) => 100 * toShare(t, axis);
    this.segments.forEach((segment, index) => {
      const [start, end] = span(schedule, index);
      const width = share(end) - share(start);
      segment.style.left = `${share(start)}%`;
      segment.style.width = `${width}%`;
      segment.classList.toggle("lumina-narrow", width < NARROW);
      const [first, last] = [stepAt(grid, start), stepAt(grid, end) - 1];
      const value = valueText(schedule.values[index]);
      segment.title = word("segment", { field: word(field), value, start, end, first, last });
      segment.ariaLabel = segment.title;
    });
    this.handles.forEach((handle, index) => {
      const t = schedule.thresholds[index];
      handle.style.left = `${share(t)}%`;
      handle.ariaValueNow = String(t);
      handle.ariaValueText = word("boundary_at", { t, step: stepAt(grid, t) });
    });
  }

  /** @param {Value} value @param {number} index @param {boolean} readOnly @param {number} top */
  segment(value, index, readOnly, top) {
    const { field, timeline } = this;
    const button = element("button", "lumina-segment", { type: "button", "data-field": field, "data-index": index });
    button.append(element("span", "lumina-value", {}, valueText(value)));
    button.disabled = readOnly;
    if (field === "patch") button.dataset.rank = String(timeline.rank(value));
    else if (typeof value === "number") {
      const height = Math.round(100 * Math.min(1, Math.max(0, value / top)));
      button.prepend(element("i", "lumina-level", { style: `height: ${height}%` }));
    }
    if (readOnly) return button;
    button.ariaHasPopup = "menu";
    button.onclick = (event) => {
      const ends = span(this.schedule, index).map((t) => toShare(t, timeline.axis));
      // A click by key has no place.
      const share = event.detail ? shareAt(this.element, event) : (ends[0] + ends[1]) / 2;
      openSegmentMenu(timeline, field, index, toTime(share, timeline.axis), button);
    };
    button.onkeydown = (event) => {
      const up = event.key.endsWith("Up") || event.key.endsWith("Down") ? arrow(event) : 0;
      if (up) this.change(event, setValue(this.schedule, index, this.nextValue(value, up)));
      else if (isDelete(event)) this.change(event, remove(this.schedule, index));
    };
    return button;
  }

  /** @param {Value} value @param {number} up */
  nextValue(value, up) {
    // Patch sizes go from fine to coarse, and up is finer.
    if (this.field === "patch") return this.timeline.patches[this.timeline.rank(value) - up] ?? value;
    return Math.max(0, Number(value) + 0.5 * up);
  }

  /** @param {number} index */
  handle(index) {
    const { field, timeline } = this;
    const [before, after] = this.schedule.values.slice(index, index + 2).map(valueText);
    const handle = element("div", "lumina-handle", {
      role: "slider", tabindex: 0, "data-field": field, "data-index": index, "aria-valuemin": 0, "aria-valuemax": 1,
      "aria-label": word("boundary", { field: word(field), before, after }),
    });
    const move = (/** @type {number} */ share) => {
      this.dragged ??= this.schedule;
      const next = moveBoundary(this.schedule, index, toTime(share, timeline.axis));
      if (next.thresholds[index] === this.schedule.thresholds[index]) return;
      this.schedule = next;
      this.place();
      timeline.edit(field, next, false);
    };
    makeDraggable(handle, this.element, move, () => {
      const moved = this.dragged && this.dragged !== this.schedule;
      this.dragged = null;
      if (moved) timeline.edit(field, this.schedule, true);
    });
    handle.ondblclick = () => openTimeEntry(timeline, field, index, handle);
    handle.onkeydown = (event) => this.handleKey(event, index, handle);
    return handle;
  }

  /** @param {KeyboardEvent} event @param {number} index @param {HTMLElement} handle */
  handleKey(event, index, handle) {
    const way = arrow(event);
    const { schedule, timeline } = this;
    if (way && event.shiftKey) this.change(event, moveBoundary(schedule, index, schedule.thresholds[index] + way / 1000));
    else if (way) this.change(event, this.stepped(index, way));
    else if (isDelete(event)) this.change(event, remove(schedule, index + 1));
    else if (event.key === "Enter") {
      take(event);
      openTimeEntry(timeline, this.field, index, handle);
    }
  }

  /** A boundary one step of the grid further, unless its neighbour stands in the way. @param {number} index @param {number} way */
  stepped(index, way) {
    const { thresholds } = this.schedule;
    const { grid } = this.timeline;
    const t = beforeStep(grid, stepAt(grid, thresholds[index]) + way);
    const free = t > (thresholds[index - 1] ?? 0) && t < (thresholds[index + 1] ?? 1);
    return free ? setThreshold(this.schedule, index, t) : this.schedule;
  }

  /** @param {KeyboardEvent} event @param {Schedule} next */
  change(event, next) {
    take(event);
    if (next !== this.schedule) this.timeline.edit(this.field, next, true);
  }
}

/** @param {KeyboardEvent} event */
function isDelete({ key }) {
  return key === "Delete" || key === "Backspace";
}

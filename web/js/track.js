// One schedule over t: its segments as buttons, its boundaries as sliders, by pointer and by keyboard.

import { beforeStep, stepAt, toShare, toTime } from "./axis.js";
import { element } from "./dom.js";
import { moveBoundary, remove, setThreshold, setValue, span, valueText } from "./segments.js";
import { word } from "./words.js";

/** @typedef {import("./segments.js").Schedule} Schedule */
/** @typedef {import("./bands.js").Field} Field */
/**
 * @typedef {object} Desk what a track asks of its timeline
 * @property {import("./axis.js").AxisKind} axis
 * @property {number[]} grid
 * @property {string[]} patches
 * @property {(field: Field, schedule: Schedule, done: boolean) => void} edit
 * @property {(field: Field, index: number, t: number, anchor: HTMLElement) => void} openMenu
 * @property {(field: Field, index: number, anchor: HTMLElement) => void} typeTime
 */

const PIXELS_OF_NAME = 0.05;

export class Track {
  /** @param {Field} field @param {Desk} desk */
  constructor(field, desk) {
    this.field = field;
    this.desk = desk;
    this.element = element("div", "lumina-track", { "data-field": field });
    /** @type {Schedule} */
    this.schedule = { values: [], thresholds: [] };
    this.dragging = false;
  }

  /** Draw anew. @param {Schedule} schedule @param {boolean} readOnly @param {number} top value that reaches the top */
  show(schedule, readOnly, top) {
    this.schedule = schedule;
    this.element.classList.toggle("lumina-read-only", readOnly);
    this.segments = schedule.values.map((_, index) => this.#segment(index, readOnly, top));
    this.handles = readOnly ? [] : schedule.thresholds.map((_, index) => this.#handle(index));
    this.element.replaceChildren(...this.segments, ...this.handles);
    this.#place();
  }

  /** Nothing to draw but a word on why. @param {string} why */
  explain(why) {
    this.schedule = { values: [], thresholds: [] };
    this.element.replaceChildren(element("span", "lumina-note", {}, why));
  }

  #place() {
    const { desk, schedule } = this;
    const share = (/** @type {number} */ t) => 100 * toShare(t, desk.axis);
    this.segments?.forEach((segment, index) => {
      const [start, end] = span(schedule, index);
      segment.style.left = `${share(start)}%`;
      segment.style.width = `${share(end) - share(start)}%`;
      segment.classList.toggle("lumina-narrow", share(end) - share(start) < 100 * PIXELS_OF_NAME);
      segment.setAttribute("aria-label", this.#describe(index));
      segment.title = this.#describe(index);
    });
    this.handles?.forEach((handle, index) => {
      const t = schedule.thresholds[index];
      handle.style.left = `${share(t)}%`;
      handle.setAttribute("aria-valuenow", String(t));
      handle.setAttribute("aria-valuetext", word("boundary_at", { t, step: stepAt(desk.grid, t) }));
    });
  }

  /** @param {number} index */
  #describe(index) {
    const [start, end] = span(this.schedule, index);
    const { grid } = this.desk;
    const value = valueText(this.schedule.values[index]);
    const last = stepAt(grid, end) - 1;
    return word("segment", { field: word(this.field), value, start, end, first: stepAt(grid, start), last });
  }

  /** @param {number} index @param {boolean} readOnly @param {number} top */
  #segment(index, readOnly, top) {
    const value = this.schedule.values[index];
    const button = element("button", "lumina-segment", { type: "button", "data-field": this.field, "data-index": index });
    button.append(element("span", "lumina-value", {}, valueText(value)));
    if (this.field === "patch") button.dataset.rank = String(this.#rank(value));
    else if (typeof value === "number") {
      const level = element("i", "lumina-level");
      level.style.height = `${Math.round(100 * Math.min(1, Math.max(0, value) / (top || 1)))}%`;
      button.prepend(level);
    }
    if (readOnly) button.disabled = true;
    else {
      button.setAttribute("aria-haspopup", "menu");
      button.addEventListener("click", (event) => this.#openMenu(event, index, button));
      button.addEventListener("keydown", (event) => this.#segmentKey(event, index));
    }
    return button;
  }

  /** Place among the model's patch sizes, finest 0. @param {unknown} value */
  #rank(value) {
    return Math.max(0, this.desk.patches.indexOf(String(value)));
  }

  /** @param {MouseEvent} event @param {number} index @param {HTMLElement} button */
  #openMenu(event, index, button) {
    const [start, end] = span(this.schedule, index);
    const middle = (toShare(start, this.desk.axis) + toShare(end, this.desk.axis)) / 2;
    // A click by keyboard has no place.
    const share = event.detail ? this.#share(event.clientX) : middle;
    this.desk.openMenu(this.field, index, toTime(share, this.desk.axis), button);
  }

  /** @param {number} x of the pointer */
  #share(x) {
    const box = this.element.getBoundingClientRect();
    return (x - box.left) / box.width;
  }

  /** @param {KeyboardEvent} event @param {number} index */
  #segmentKey(event, index) {
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (direction) this.#change(event, setValue(this.schedule, index, this.#nextValue(index, direction)));
    else if (event.key === "Delete" || event.key === "Backspace") this.#change(event, remove(this.schedule, index));
  }

  /** @param {number} index @param {number} direction */
  #nextValue(index, direction) {
    const value = this.schedule.values[index];
    if (this.field === "patch") {
      const { patches } = this.desk;
      // The list goes from fine to coarse, and up is finer.
      return patches[this.#rank(value) - direction] ?? value;
    }
    return Math.max(0, (typeof value === "number" ? value : 0) + 0.5 * direction);
  }

  /** @param {number} index */
  #handle(index) {
    const handle = element("div", "lumina-handle", {
      role: "slider", tabindex: 0, "data-field": this.field, "data-index": index, "aria-valuemin": 0, "aria-valuemax": 1,
      "aria-label": word("boundary", {
        field: word(this.field),
        before: valueText(this.schedule.values[index]),
        after: valueText(this.schedule.values[index + 1]),
      }),
    });
    handle.addEventListener("pointerdown", (event) => this.#grab(event, index, handle));
    handle.addEventListener("dblclick", () => this.desk.typeTime(this.field, index, handle));
    handle.addEventListener("keydown", (event) => this.#handleKey(event, index, handle));
    return handle;
  }

  /** @param {PointerEvent} event @param {number} index @param {HTMLElement} handle */
  #grab(event, index, handle) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    handle.focus();
    handle.setPointerCapture(event.pointerId);
    this.dragging = true;
    const before = this.schedule;
    const move = (/** @type {PointerEvent} */ at) => {
      const next = moveBoundary(this.schedule, index, toTime(this.#share(at.clientX), this.desk.axis));
      if (next.thresholds[index] === this.schedule.thresholds[index]) return;
      this.schedule = next;
      this.#place();
      this.desk.edit(this.field, next, false);
    };
    const end = () => {
      handle.removeEventListener("pointermove", move);
      handle.removeEventListener("lostpointercapture", end);
      this.dragging = false;
      if (this.schedule !== before) this.desk.edit(this.field, this.schedule, true);
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", end);
  }

  /** @param {KeyboardEvent} event @param {number} index @param {HTMLElement} handle */
  #handleKey(event, index, handle) {
    const t = this.schedule.thresholds[index];
    const direction = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (direction && event.shiftKey) this.#change(event, moveBoundary(this.schedule, index, t + direction / 1000));
    else if (direction) this.#change(event, this.#stepped(index, direction));
    else if (event.key === "Delete" || event.key === "Backspace") this.#change(event, remove(this.schedule, index + 1));
    else if (event.key === "Enter") {
      event.preventDefault();
      event.stopPropagation();
      this.desk.typeTime(this.field, index, handle);
    }
  }

  /** Boundary `index` one step further; as it is where its neighbour stands in the way. @param {number} index @param {number} direction */
  #stepped(index, direction) {
    const { grid } = this.desk;
    const t = beforeStep(grid, stepAt(grid, this.schedule.thresholds[index]) + direction);
    const { thresholds } = this.schedule;
    const free = t > (thresholds[index - 1] ?? 0) && t < (thresholds[index + 1] ?? 1);
    return free ? setThreshold(this.schedule, index, t) : this.schedule;
  }

  /** A change by key; the host has its own meaning for most keys. @param {KeyboardEvent} event @param {Schedule} next */
  #change(event, next) {
    event.preventDefault();
    event.stopPropagation();
    if (next !== this.schedule) this.desk.edit(this.field, next, true);
  }
}

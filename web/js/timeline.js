// The timeline of one node: bands over t beside its text fields, bound both ways.

import { app } from "/scripts/app.js";
import { stepTicks, timeTicks } from "./axis.js";
import { BANDS, PRESET, TIMELINES } from "./bands.js";
import { CostStrip } from "./cost_strip.js";
import { element } from "./dom.js";
import { gather, isPreset, kind } from "./graph_context.js";
import { openSegmentMenu, openTimeEntry } from "./edits.js";
import { PlanService } from "./plan_service.js";
import { Report } from "./report.js";
import { format } from "./segments.js";
import { axisKind } from "./settings.js";
import { Track } from "./track.js";
import { word } from "./words.js";

/** @typedef {import("@comfyorg/comfyui-frontend-types").LGraphNode} Node */
/** @typedef {import("./bands.js").Field} Field */
/** @typedef {import("./segments.js").Schedule} Schedule */
/** @typedef {import("./plan_service.js").Answer} Answer */

const WITHOUT_COST = ["LuminaVideoMotionScore", "LuminaVideoSplitSigmas"];
const TICK_ROOM = 0.075;

export class Timeline {
  /** @param {Node} node */
  constructor(node) {
    this.node = node;
    this.fields = TIMELINES[kind(node)];
    this.readOnly = kind(node) === PRESET;
    this.service = new PlanService((answer, question) => this.#take(answer, question));
    this.context = gather(node);
    this.asked = "";
    /** Last good schedule of each field. @type {Partial<Record<Field, Schedule>>} */
    this.schedules = {};
    /** Texts that links brought in the last run. @type {Record<string, string>} */
    this.linked = {};
    /** @type {Answer | null} */
    this.answer = null;
    this.commitBudget = false;
    this.#build();
  }

  get axis() {
    return axisKind();
  }

  get grid() {
    return this.answer?.outline?.grid ?? [0, 1];
  }

  get patches() {
    return this.answer?.patches ?? [];
  }

  /** Room that it needs, in the graph's units. */
  get height() {
    const bands = BANDS.map(({ fields }) => fields.filter((field) => this.fields.includes(field)).length);
    const tracks = bands.reduce((all, count) => all + (count ? 18 + 27 * count : 0), 0);
    const budget = this.strip?.onBudget ? 20 : 0;
    return tracks + 34 + (this.strip ? 80 + budget : 0) + (this.readOnly ? 20 : 48);
  }

  /** Ask the server anew when anything that it should know has changed. */
  refresh() {
    this.context = gather(this.node);
    const fields = this.#question();
    const key = JSON.stringify([fields, Object.keys(this.context.links), this.axis]);
    if (key === this.asked || this.dragging) return;
    this.asked = key;
    this.service.ask({ fields });
  }

  get dragging() {
    return Object.values(this.tracks).some((track) => track.dragging);
  }

  /** A change made here: written to the text field, drawn, priced. @param {Field} field @param {Schedule} schedule @param {boolean} done */
  edit(field, schedule, done) {
    this.schedules[field] = schedule;
    this.#write(field, format(schedule));
    const fields = this.#question();
    this.asked = "";
    this.service.ask({ fields });
    if (!done) return;
    this.#draw();
    remember();
  }

  /** Text that may not be a schedule: the server says so, and the text stays to be mended. @param {Field} field @param {string} text */
  editText(field, text) {
    this.#write(field, text);
    this.refresh();
    remember();
  }

  /** @param {number} budget share of 1x2 throughout @param {boolean} done */
  askBudget(budget, done) {
    this.commitBudget = done;
    this.service.ask({ fields: this.#question(), budget });
  }

  /** @param {{t: number, text: string}} progress */
  showProgress({ t, text }) {
    this.report.showStatus(text);
    this.element.style.setProperty("--lumina-now", String(this.axis === "linear" ? t : Math.sqrt(t)));
    this.element.classList.add("lumina-running");
  }

  /** @param {import("./report.js").Result} result */
  showResult(result) {
    this.element.classList.remove("lumina-running");
    this.report.showResult(result);
    this.asked = "";
    this.refresh();
  }

  /** The run ended, be it well or not. */
  stop() {
    this.element.classList.remove("lumina-running");
    this.report.showStatus("");
  }

  /** @param {number} score measured of the clip */
  showMotion(score) {
    const asked = this.answer?.schedules.motion;
    this.report.showMotion(score, asked?.text ?? "none");
  }

  /** What the node ran with, for fields that a link feeds. @param {Record<string, string>} texts */
  showLinked(texts) {
    this.linked = texts;
    this.refresh();
  }

  #build() {
    const label = word("timeline");
    this.element = element("div", "lumina-timeline", { role: "group", "aria-label": label, "data-node": this.node.id });
    this.element.dataset.revision = "0";
    this.element.dataset.state = "loading";
    /** @type {Record<string, Track>} */
    this.tracks = {};
    for (const { band, fields } of BANDS) {
      const own = fields.filter((field) => this.fields.includes(field));
      if (own.length) this.element.append(this.#band(band, own));
    }
    this.axisRow = element("div", "lumina-axis", { "aria-hidden": "true" });
    this.element.append(this.axisRow);
    const type = kind(this.node);
    const budget = !this.readOnly && this.fields.includes("patch");
    if (!WITHOUT_COST.includes(type)) {
      this.strip = new CostStrip(budget ? (share, done) => this.askBudget(share, done) : null);
      this.element.append(this.strip.element);
    }
    this.report = new Report();
    this.element.append(this.report.element);
    if (this.readOnly) this.report.showStatus(word("read_only"));
    // Zooming by wheel is the canvas's.
    this.element.addEventListener("wheel", (event) => app.canvas.processMouseWheel(event), { passive: false });
  }

  /** @param {string} band @param {Field[]} fields */
  #band(band, fields) {
    const row = element("div", "lumina-band", { "data-band": band });
    const name = element("div", "lumina-band-name", {}, word(band));
    name.append(element("small", "", {}, word(`${band}_hint`)));
    row.append(name);
    for (const field of fields) {
      const track = (this.tracks[field] = new Track(field, this.#desk()));
      if (band === "motion") track.element.dataset.name = word(field === "motion" ? "positive" : "negative");
      row.append(track.element);
    }
    return row;
  }

  /** @returns {import("./track.js").Desk} */
  #desk() {
    const timeline = this;
    return {
      get axis() {
        return timeline.axis;
      },
      get grid() {
        return timeline.grid;
      },
      get patches() {
        return timeline.patches;
      },
      edit: (field, schedule, done) => this.edit(field, schedule, done),
      openMenu: (field, index, t, anchor) => openSegmentMenu(this, field, index, t, anchor),
      typeTime: (field, index, anchor) => openTimeEntry(this, field, index, anchor),
    };
  }

  /** Inputs by name for the plan route. */
  #question() {
    return { ...this.context.fields, ...this.#linkedTexts(), ...this.#ownTexts() };
  }

  #linkedTexts() {
    const names = Object.keys(this.context.links).filter((name) => name in this.linked);
    return Object.fromEntries(names.map((name) => [name, this.linked[name]]));
  }

  /** The text fields as they stand; `context` may be older than the last stroke. */
  #ownTexts() {
    const names = this.fields.filter((field) => field in this.context.fields);
    return Object.fromEntries(names.map((field) => [field, this.#widget(field)?.value]));
  }

  /** @param {string} name */
  #widget(name) {
    return this.node.widgets?.find((widget) => widget.name === name);
  }

  /** @param {Field} field @param {string} text */
  #write(field, text) {
    const widget = this.#widget(field);
    if (!widget || widget.value === text) return;
    this.writing = true;
    widget.value = text;
    widget.callback?.(text);
    this.writing = false;
    app.canvas.setDirty(true, true);
  }

  /** @param {Answer | null} answer @param {import("./plan_service.js").Question} question */
  #take(answer, question) {
    if (!this.node.graph) return;
    if (answer === null) {
      this.asked = "";
      this.#state("offline");
      this.report.showError(word("offline"));
      return;
    }
    // An answer that a newer question has overtaken still tells the cost.
    const old = this.dragging || this.service.waiting !== null;
    if (answer.outline) this.#price(answer);
    if (old && question.budget === undefined) return;
    if (question.budget !== undefined) this.#takeBudget(answer);
    this.answer = { ...answer, outline: answer.outline ?? this.answer?.outline ?? null };
    for (const field of this.fields) {
      const told = answer.schedules[field];
      if (!told.error) this.schedules[field] = told;
    }
    this.#draw();
  }

  /** @param {Answer} answer */
  #takeBudget(answer) {
    if (answer.error || this.service.waiting) return;
    this.#write("patch", answer.schedules.patch.text);
    if (this.commitBudget) remember();
  }

  /** @param {Answer} answer */
  #price({ outline, patches, estimate }) {
    if (outline) this.strip?.show(outline, patches, estimate);
  }

  #draw() {
    if (!this.answer) return;
    const focus = focusWithin(this.element);
    const numbers = ["motion", "negative_motion"].flatMap((field) => this.schedules[/** @type {Field} */ (field)]?.values ?? []);
    for (const field of this.fields) {
      const { links } = this.context;
      const unknown = field in links && !isPreset(links[field]) && !(field in this.linked);
      const schedule = this.schedules[field];
      const top = field === "guidance" ? highest(this.schedules.guidance?.values ?? []) : highest(numbers);
      if (unknown || !schedule) this.tracks[field].explain(word("linked"));
      else this.tracks[field].show(schedule, this.readOnly || field in links, top);
      const preset = !this.readOnly && this.answer.schedules[field].own === false;
      this.tracks[field].element.classList.toggle("lumina-of-preset", preset);
    }
    this.#drawAxis();
    this.#tell();
    focusOn(this.element, focus);
    this.element.dataset.revision = String(Number(this.element.dataset.revision) + 1);
  }

  #drawAxis() {
    const times = timeTicks(this.axis, TICK_ROOM).map((tick) => mark("lumina-time", tick));
    const steps = stepTicks(this.grid, this.axis, TICK_ROOM).map((tick) => mark("lumina-step", tick));
    const names = [element("span", "lumina-axis-name", {}, word("time")), element("span", "lumina-axis-name", {}, word("step"))];
    this.axisRow.replaceChildren(...names, ...times, ...steps);
  }

  /** The state, and what is wrong where something is. */
  #tell() {
    const { schedules, error } = /** @type {Answer} */ (this.answer);
    const fault = this.fields.map((field) => schedules[field]).find((told) => told.error);
    this.report.showError(fault?.error ?? error ?? "", fault);
    const linked = this.fields.every((field) => field in this.context.links);
    this.#state(fault || error ? "error" : linked ? "linked" : "ok");
  }

  /** @param {string} state */
  #state(state) {
    this.element.dataset.state = state;
  }
}

/** Let the host's undo know. */
function remember() {
  /** @type {any} */
  const tracker = app.extensionManager.workflow?.activeWorkflow?.changeTracker;
  if (tracker?.captureCanvasState) tracker.captureCanvasState();
  else tracker?.checkState?.();
}

/** @param {import("./segments.js").Value[]} values */
function highest(values) {
  return Math.max(1, ...values.map((value) => (typeof value === "number" ? value : 0)));
}

/** @param {string} className @param {{text: string, share: number}} tick */
function mark(className, { text, share }) {
  const made = element("span", `lumina-tick ${className}`, {}, text);
  made.style.left = `${100 * share}%`;
  return made;
}

/** What has the focus, so that it can be found again after drawing. @param {HTMLElement} root */
function focusWithin(root) {
  const active = /** @type {HTMLElement | null} */ (document.activeElement);
  if (!active || !root.contains(active) || !active.dataset.field) return "";
  return `.${active.classList[0]}[data-field="${active.dataset.field}"][data-index="${active.dataset.index}"]`;
}

/** @param {HTMLElement} root @param {string} selector */
function focusOn(root, selector) {
  if (selector) /** @type {HTMLElement | null} */ (root.querySelector(selector))?.focus({ preventScroll: true });
}

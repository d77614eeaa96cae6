// The timeline of one node: bands over t beside its text fields, bound both ways.

import { app } from "/scripts/app.js";
import { stepTicks, timeTicks, toShare } from "./axis.js";
import { BANDS, PRESET, TIMELINES, WITHOUT_COST } from "./bands.js";
import { CostStrip } from "./cost_strip.js";
import { element } from "./dom.js";
import { gather, isPreset, kind, widgetOf } from "./graph_context.js";
import { PlanService } from "./plan_service.js";
import { Report } from "./report.js";
import { format } from "./segments.js";
import { axisKind } from "./settings.js";
import { Track } from "./track.js";
import { word } from "./words.js";

export class Timeline {
  /** @param {GraphNode} node */
  constructor(node) {
    this.node = node;
    this.fields = TIMELINES[kind(node)];
    this.readOnly = kind(node) === PRESET;
    this.service = new PlanService((answer, question) => this.take(answer, question));
    this.context = gather(node);
    /** What the server was asked last, as JSON. */
    this.asked = "";
    /** The last good schedule of each field. @type {Partial<Record<Field, Schedule>>} */
    this.schedules = {};
    /** Texts that links brought in the last run. @type {Record<string, string>} */
    this.linked = {};
    this.answer = /** @type {Answer | null} */ (null);
    /** Whether a text field changes by our own hand. */
    this.writing = false;
    this.committing = false;
    this.element = element("div", "lumina-timeline", { role: "group", "aria-label": word("timeline"), "data-state": "loading" });
    this.tracks = this.fields.map((field) => new Track(field, this));
    this.bands = Object.entries(BANDS).filter(([, fields]) => fields.some((field) => this.fields.includes(field)));
    this.axisRow = element("div", "lumina-axis", { "aria-hidden": true });
    this.withBudget = !this.readOnly && this.fields.includes("patch");
    this.strip = WITHOUT_COST.includes(kind(node)) ? null : new CostStrip(this, this.withBudget);
    this.report = new Report();
    this.report.status.textContent = this.readOnly ? word("read_only") : "";
    const parts = [...this.bands.map(([band]) => this.band(band)), this.axisRow, this.strip?.element ?? "", this.report.element];
    this.element.append(...parts);
    // Zooming is the canvas's.
    this.element.addEventListener("wheel", (event) => app.canvas.processMouseWheel(event), { passive: false });
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

  get dragging() {
    return this.tracks.some((track) => track.dragged);
  }

  /** Room that it needs, in the graph's units. */
  get height() {
    const strip = this.strip ? 74 + (this.withBudget ? 20 : 0) : 0;
    return 18 * this.bands.length + 27 * this.tracks.length + 38 + strip + (this.readOnly ? 24 : 44);
  }

  /** Place among the model's patch sizes, finest 0. @param {Value} patch */
  rank(patch) {
    return Math.max(0, this.patches.indexOf(String(patch)));
  }

  /** Ask the server anew if anything has changed that it should know. */
  refresh() {
    this.context = gather(this.node);
    const key = JSON.stringify([this.question, Object.keys(this.context.links), this.axis]);
    if (key === this.asked || this.dragging) return;
    this.asked = key;
    this.service.ask({ fields: this.question });
  }

  /** A change made here: written to the text field, drawn, priced. @param {Field} field @param {Schedule} schedule @param {boolean} done */
  edit(field, schedule, done) {
    this.schedules[field] = schedule;
    this.write(field, format(schedule));
    this.asked = "";
    this.service.ask({ fields: this.question });
    if (!done) return;
    this.draw();
    remember();
  }

  /** Text that may be no schedule: the server says so, and it stays to be mended. @param {Field} field @param {string} text */
  editText(field, text) {
    this.write(field, text);
    this.refresh();
    remember();
  }

  /** @param {number} budget share of 1x2 throughout @param {boolean} done */
  askBudget(budget, done) {
    this.committing = done;
    this.service.ask({ fields: this.question, budget });
  }

  /** @param {Progress} progress */
  showProgress({ t, text }) {
    this.report.status.textContent = text;
    this.element.style.setProperty("--lumina-now", String(toShare(t, this.axis)));
    this.element.classList.add("lumina-running");
  }

  /** @param {RunResult} run */
  showResult(run) {
    this.stop();
    this.report.showResult(run);
    // There is more to learn from for the estimate.
    this.asked = "";
    this.refresh();
  }

  stop() {
    this.element.classList.remove("lumina-running");
    this.report.status.textContent = "";
  }

  /** @param {number} score measured of the clip */
  showMotion(score) {
    this.report.showMotion(score, this.answer?.schedules.motion.text ?? "");
  }

  /** What the node ran with. @param {Record<string, string>} texts */
  showLinked(texts) {
    this.linked = texts;
    this.refresh();
  }

  /** @param {string} band */
  band(band) {
    const row = element("div", "lumina-band", { "data-band": band });
    const name = element("div", "lumina-band-name", {}, word(band));
    name.append(element("small", "", {}, word(`${band}_hint`)));
    const tracks = this.tracks.filter((track) => BANDS[band].includes(track.field));
    if (band === "motion") tracks.forEach(({ element }, index) => (element.dataset.name = word(index ? "negative" : "positive")));
    row.append(name, ...tracks.map((track) => track.element));
    return row;
  }

  /** Inputs by name for the plan route. `context` may be older than the last stroke, so own texts are read anew. */
  get question() {
    const { fields, links } = this.context;
    const linked = Object.entries(this.linked).filter(([name]) => name in links);
    const own = this.fields.filter((field) => field in fields).map((field) => [field, widgetOf(this.node, field)?.value]);
    return { ...fields, ...Object.fromEntries([...linked, ...own]) };
  }

  /** @param {Field} field @param {string} text */
  write(field, text) {
    const widget = widgetOf(this.node, field);
    if (!widget || widget.value === text) return;
    this.writing = true;
    widget.value = text;
    widget.callback?.(text);
    this.writing = false;
    app.canvas.setDirty(true, true);
  }

  /** @param {Answer | null} answer @param {Question} question */
  take(answer, { budget }) {
    if (!this.node.graph) return;
    if (!answer) {
      this.asked = "";
      this.element.dataset.state = "offline";
      this.report.showError(word("offline"));
      return;
    }
    const before = this.answer?.outline ?? null;
    if (budget === undefined && (this.dragging || this.service.waiting)) {
      // Overtaken, but it still tells the cost.
      if (answer.outline) this.strip?.show(answer.outline, answer.estimate);
      return;
    }
    if (budget !== undefined && answer.outline) {
      this.write("patch", answer.schedules.patch.text);
      if (this.committing) remember();
    }
    this.answer = { ...answer, outline: answer.outline ?? before };
    for (const field of this.fields) if (!answer.schedules[field].error) this.schedules[field] = answer.schedules[field];
    this.draw();
    if (answer.outline) this.strip?.show(answer.outline, answer.estimate);
  }

  draw() {
    if (!this.answer) return;
    const { schedules } = this.answer;
    const { links } = this.context;
    const focus = focusIn(this.element);
    for (const track of this.tracks) {
      const { field } = track;
      const schedule = this.schedules[field];
      const unknown = field in links && !isPreset(links[field]) && !(field in this.linked);
      if (unknown || !schedule) track.explain(word("linked"));
      else track.show(schedule, this.readOnly || field in links, this.top(field));
      track.element.classList.toggle("lumina-of-preset", !this.readOnly && !schedules[field].own);
    }
    const { axis } = this;
    this.axisRow.replaceChildren(...ticks("lumina-time", "t", timeTicks(axis)), ...ticks("lumina-step", word("step"), stepTicks(this.grid, axis)));
    this.tell(this.answer);
    if (focus) /** @type {HTMLElement | null} */ (this.element.querySelector(focus))?.focus({ preventScroll: true });
    const { dataset } = this.element;
    dataset.node = String(this.node.id);
    dataset.revision = String(Number(dataset.revision ?? 0) + 1);
  }

  /** The value that reaches the top of a track; the motion scores share theirs. @param {Field} field */
  top(field) {
    const fields = Object.values(BANDS).find((together) => together.includes(field)) ?? [];
    const values = fields.flatMap((name) => this.schedules[name]?.values ?? []);
    return Math.max(1, ...values.map((value) => (typeof value === "number" ? value : 0)));
  }

  /** What is wrong, and the state. @param {Answer} answer */
  tell({ schedules, error }) {
    const fault = this.fields.map((field) => schedules[field]).find((told) => told.error);
    const sentence = fault?.error ?? error;
    const linked = this.fields.every((field) => field in this.context.links);
    this.report.showError(sentence ?? "", fault);
    this.element.dataset.state = sentence ? "error" : linked ? "linked" : "ok";
  }
}

/** Let the host's undo know. */
function remember() {
  const tracker = /** @type {any} */ (app.extensionManager.workflow).activeWorkflow?.changeTracker;
  // The older host knows the older name.
  if (tracker) (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
}

/** The first tells what is counted. @param {string} className @param {string} name @param {Tick[]} marks */
function ticks(className, name, marks) {
  return marks.map(({ text, share }) => {
    return element("span", `lumina-tick ${className}`, { style: `left: ${100 * share}%` }, share ? text : `${name} ${text}`);
  });
}

/** A selector of what has the focus, so that it is found again after drawing. @param {HTMLElement} root */
function focusIn(root) {
  const active = document.activeElement;
  if (!(active instanceof HTMLElement) || !root.contains(active) || !active.dataset.field) return "";
  return `.${active.classList[0]}[data-field="${active.dataset.field}"][data-index="${active.dataset.index}"]`;
}

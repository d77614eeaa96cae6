// The timeline of one node: bands over t beside its text fields, bound both ways.

import { app } from "/scripts/app.js";
import { ticks, toShare } from "./axis.js";
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
  service = new PlanService((answer, question) => this.take(answer, question));
  report = new Report();
  axisRow = element("div", "lumina-axis", { ariaHidden: true });
  /** The last good schedule of each field. @type {Partial<Record<Field, Schedule>>} */
  schedules = {};
  /** Texts that links brought in the last run. @type {Record<string, string>} */
  linked = {};
  answer = /** @type {Answer | null} */ (null);
  /** What the server was asked last. */
  asked = "";
  /** Whether a text field changes by our own hand. */
  writing = false;
  committing = false;

  /** @param {GraphNode} node */
  constructor(node) {
    this.node = node;
    this.fields = TIMELINES[kind(node)];
    this.readOnly = kind(node) === PRESET;
    this.withBudget = !this.readOnly && this.fields.includes("patch");
    this.context = gather(node);
    this.tracks = this.fields.map((field) => new Track(field, this));
    this.strip = WITHOUT_COST.includes(kind(node)) ? null : new CostStrip(this);
    this.bands = Object.keys(BANDS).filter((band) => this.fields.includes(BANDS[band][0]));
    const label = { role: "group", ariaLabel: word("timeline"), dataset: { state: "loading", revision: 0 } };
    const parts = [...this.bands.map((band) => this.band(band)), this.axisRow, this.strip?.element ?? "", this.report.element];
    this.element = element("div", "lumina-timeline", label, ...parts);
    this.stop();
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
    return 17 * this.bands.length + 27 * this.tracks.length + (this.strip ? 70 : 0) + (this.withBudget ? 20 : 0) + 80;
  }

  /** Inputs by name for the plan route; `context` may be older than the last stroke, so own texts are read anew. */
  get question() {
    const { fields, links } = this.context;
    const linked = Object.entries(this.linked).filter(([name]) => name in links);
    const own = this.fields.filter((field) => field in fields).map((field) => [field, widgetOf(this.node, field)?.value]);
    return { ...fields, ...Object.fromEntries([...linked, ...own]) };
  }

  /** @type {T.rank} */
  rank(patch) {
    return Math.max(0, this.patches.indexOf(String(patch)));
  }

  /** @type {T.band} */
  band(band) {
    const name = element("div", "lumina-band-name", {}, word(band), element("small", "", {}, word(`${band}_hint`)));
    const tracks = this.tracks.filter((track) => BANDS[band].includes(track.field)).map((track) => track.element);
    if (band === "motion") tracks.forEach(({ dataset }, index) => (dataset.name = word(index ? "negative" : "positive")));
    return element("div", "lumina-band", { dataset: { band } }, name, ...tracks);
  }

  /** Ask the server anew if anything has changed that it should know. */
  refresh() {
    this.context = gather(this.node);
    const key = JSON.stringify([this.question, Object.keys(this.context.links), this.axis]);
    if (key === this.asked || this.dragging) return;
    this.service.ask({ fields: this.question });
    this.asked = key;
  }

  /** @type {T.edit} */
  edit(field, schedule, done) {
    this.schedules[field] = schedule;
    this.write(field, format(schedule));
    this.service.ask({ fields: this.question });
    this.asked = "";
    if (!done) return;
    this.draw();
    remember();
  }

  /** @type {T.editText} */
  editText(field, text) {
    this.write(field, text);
    this.refresh();
    remember();
  }

  /** @type {T.askBudget} */
  askBudget(budget, done) {
    this.committing = done;
    this.service.ask({ fields: this.question, budget });
  }

  /** @type {T.write} */
  write(field, text) {
    const widget = widgetOf(this.node, field);
    if (!widget || widget.value === text) return;
    this.writing = true;
    widget.value = text;
    widget.callback?.(text);
    this.writing = false;
    app.canvas.setDirty(true, true);
  }

  /** @type {T.timelineTake} */
  take(answer, { budget }) {
    if (!this.node.graph) return;
    if (!answer) {
      this.asked = "";
      this.element.dataset.state = "offline";
      return this.report.showError(word("offline"));
    }
    const { outline, schedules, estimate } = answer;
    const overtaken = budget === undefined && (this.dragging || this.service.waiting);
    if (!overtaken) {
      if (budget !== undefined && outline) this.write("patch", schedules.patch.text);
      this.answer = { ...answer, outline: outline ?? this.answer?.outline ?? null };
      for (const field of this.fields) if (!schedules[field].error) this.schedules[field] = schedules[field];
      this.draw();
      if (budget !== undefined && this.committing) remember();
    }
    if (outline) this.strip?.show(outline, estimate);
  }

  draw() {
    const { answer, axis } = this;
    if (!answer) return;
    const focus = focusIn(this.element);
    const { links } = this.context;
    for (const track of this.tracks) {
      const { field } = track;
      const schedule = this.schedules[field];
      const unknown = field in links && !isPreset(links[field]) && !(field in this.linked);
      if (unknown || !schedule) track.element.replaceChildren(element("span", "lumina-note", {}, word("linked")));
      else track.show(schedule, this.readOnly || field in links, this.top(field));
      track.element.classList.toggle("lumina-of-preset", !this.readOnly && !answer.schedules[field].own);
    }
    this.axisRow.replaceChildren(...marks("time", ticks(axis)), ...marks("step", ticks(axis, this.grid)));
    const fault = this.fields.map((field) => answer.schedules[field]).find((told) => told.error);
    const sentence = fault?.error ?? answer.error ?? "";
    const linked = this.fields.every((field) => field in links);
    this.report.showError(sentence, fault);
    const { dataset } = this.element;
    dataset.state = sentence ? "error" : linked ? "linked" : "ok";
    dataset.node = String(this.node.id);
    dataset.revision = String(Number(dataset.revision) + 1);
    if (focus) /** @type {HTMLElement | null} */ (this.element.querySelector(focus))?.focus({ preventScroll: true });
  }

  /** @type {T.top} */
  top(field) {
    const together = Object.values(BANDS).find((fields) => fields.includes(field)) ?? [];
    return Math.max(1, ...together.flatMap((name) => this.schedules[name]?.values ?? []).map((value) => Number(value) || 0));
  }

  /** @type {T.showProgress} */
  showProgress({ t, text }) {
    this.report.status.textContent = text;
    this.element.style.setProperty("--now", String(toShare(t, this.axis)));
    this.element.classList.add("lumina-running");
  }

  /** @type {T.timelineShowResult} */
  showResult(run) {
    this.stop();
    this.report.showResult(run);
    // There is more to learn from for the estimate.
    this.asked = "";
    this.refresh();
  }

  stop() {
    this.element.classList.remove("lumina-running");
    this.report.status.textContent = this.readOnly ? word("read_only") : "";
  }

  /** @type {T.timelineShowMotion} */
  showMotion(score) {
    this.report.showMotion(score, this.answer?.schedules.motion.text ?? "");
  }

  /** @type {T.showLinked} */
  showLinked(texts) {
    this.linked = texts;
    this.asked = "";
    this.refresh();
  }
}

/** Let the host's undo know. */
function remember() {
  const tracker = /** @type {any} */ (app.extensionManager.workflow).activeWorkflow?.changeTracker;
  // The older host knows the older name.
  if (tracker) (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
}

/** @type {T.marks} */
function marks(row, ticks) {
  return ticks.map(({ text, share }) => {
    const style = `left: ${100 * share}%; transform: translateX(${-100 * share}%)`;
    return element("span", `lumina-tick lumina-${row}`, { style }, share ? text : `${word(row)} ${text}`);
  });
}

/** @type {T.focusIn} */
function focusIn(root) {
  const { classList, dataset } = /** @type {HTMLElement} */ (root.contains(document.activeElement) ? document.activeElement : root);
  return dataset.field && `.${classList[0]}[data-field="${dataset.field}"][data-index="${dataset.index}"]`;
}

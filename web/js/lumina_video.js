// Gives our nodes their timeline. Without this script every node works by its text fields.

import { app } from "/scripts/app.js";
import { api } from "/scripts/api.js";
import { MEASURE, TIMELINES } from "./bands.js";
import { byDistance, kind, widgetOf } from "./graph_context.js";
import { applyDefaultPreset, makeSettings } from "./settings.js";
import { Timeline } from "./timeline.js";
import { loadWords } from "./words.js";

const WIDGET = "lumina_timeline";
/** @type {Set<Timeline>} */
const timelines = new Set();

/** @param {GraphNode} node */
function addTimeline(node) {
  const timeline = new Timeline(node);
  const fixed = { getMinHeight: () => timeline.height, getMaxHeight: () => timeline.height };
  const options = { ...fixed, serialize: false, hideOnZoom: false, getValue: () => "", setValue: () => {} };
  const widget = /** @type {any} */ (node).addDOMWidget(WIDGET, "LUMINA_TIMELINE", timeline.element, options);
  // This one keeps it out of the saved workflow, the option out of the prompt.
  widget.serialize = false;
  timelines.add(timeline);
  for (const field of timeline.fields) follow(node, field, timeline);
  after(node, "onConfigure", () => timeline.refresh());
  after(node, "onConnectionsChange", () => queueMicrotask(refreshAll));
  after(node, "onRemoved", () => timelines.delete(timeline));
  after(node, "onExecuted", (output) => output?.lumina_schedules && timeline.showLinked(output.lumina_schedules[0]));
  const least = node.computeSize();
  node.setSize([Math.max(node.size[0], 400), Math.max(node.size[1], least[1])]);
  queueMicrotask(() => timeline.refresh());
}

/** Redraw when the text is edited. @param {GraphNode} node @param {string} name @param {Timeline} timeline */
function follow(node, name, timeline) {
  const widget = widgetOf(node, name);
  if (!widget) return;
  after(/** @type {any} */ (widget), "callback", () => timeline.writing || timeline.refresh());
}

/** Call `then` after the object's own handler of that name. @param {any} object @param {string} name @param {(...values: any[]) => void} then */
function after(object, name, then) {
  const own = object[name];
  object[name] = function (/** @type {any[]} */ ...values) {
    const result = own?.apply(this, values);
    then(...values);
    return result;
  };
}

function refreshAll() {
  for (const timeline of timelines) timeline.refresh();
}

/** Timelines that are linked to the node of an id, directly or by others. @param {string} id */
function linkedTo(id) {
  return [...timelines].filter((timeline) => timeline.node.graph && timeline.context.nodes.has(String(id)));
}

/** @param {{node: string, output: any}} done */
function showMotion({ node, output }) {
  const score = output?.lumina_motion?.[0];
  if (typeof score !== "number") return;
  for (const timeline of linkedTo(node)) if (measures(timeline.node, node)) timeline.showMotion(score);
}

/** Whether this is the measuring node nearest to a timeline. @param {GraphNode} from @param {string} id */
function measures(from, id) {
  const nearest = byDistance(from).find((node) => kind(node) === MEASURE);
  return String(nearest?.id) === String(id);
}

function listen() {
  api.addEventListener("graphChanged", refreshAll);
  const on = (/** @type {string} */ name, /** @type {(detail: any) => void} */ act) => {
    api.addEventListener(/** @type {any} */ (name), (/** @type {any} */ event) => act(event.detail));
  };
  on("lumina-video.progress", (progress) => linkedTo(progress.node).forEach((timeline) => timeline.showProgress(progress)));
  on("lumina-video.result", (result) => linkedTo(result.node).forEach((timeline) => timeline.showResult(result)));
  on("executed", showMotion);
  for (const name of ["execution_error", "execution_interrupted"]) on(name, () => timelines.forEach((timeline) => timeline.stop()));
}

function addStyle() {
  const href = new URL("./style.css", import.meta.url).href;
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
}

app.registerExtension({
  name: "lumina-video.timeline",
  async init() {
    addStyle();
    await loadWords();
    listen();
  },
  async addCustomNodeDefs(defs) {
    const presets = /** @type {any} */ (defs.LuminaVideoPreset)?.input?.required?.preset;
    const names = presets?.[1]?.options ?? presets?.[0] ?? [];
    for (const setting of makeSettings(names, refreshAll)) app.ui.settings.addSetting(/** @type {any} */ (setting));
  },
  nodeCreated(node) {
    if (!(kind(node) in TIMELINES)) return;
    applyDefaultPreset(node);
    addTimeline(node);
  },
});

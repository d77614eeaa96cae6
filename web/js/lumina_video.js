// Adds a timeline to nodes with schedules, which also work without it.

import { app } from "/scripts/app.js";
import { api } from "/scripts/api.js";
import { element, loadTranslations } from "./page.js";
import { kind, TIMELINES, widgetOf } from "./graph_context.js";
import { addSettings, applyDefaultPreset } from "./settings.js";
import { Timeline } from "./timeline.js";

/** @type {Set<Timeline>} */
const timelines = new Set();
// Deferred until the host has finished.
const refreshAll = () => queueMicrotask(() => timelines.forEach((timeline) => timeline.refresh()));

/** @type {T.addTimeline} */
function addTimeline(node) {
	const timeline = new Timeline(node);
	const height = () => timeline.height;
	const options = { getMinHeight: height, getMaxHeight: height, serialize: false, hideOnZoom: false };
	const widget = /** @type {any} */ (node).addDOMWidget("lumina_timeline", "LUMINA_TIMELINE", timeline.element, options);
	// Not in saved workflows; the option: not in prompts.
	widget.serialize = false;
	timelines.add(timeline);
	const refresh = () => timeline.writing || timeline.refresh();
	for (const field of timeline.fields) after(widgetOf(node, field), "callback", refresh);
	after(node, "onConfigure", refresh);
	after(node, "onConnectionsChange", refreshAll);
	after(node, "onRemoved", () => {
		timelines.delete(timeline);
		timeline.element.dataset.removed = "";
	});
	after(node, "onExecuted", ({ lumina_schedules: schedules }) => schedules && timeline.showLinked(schedules[0]));
	node.setSize([Math.max(node.size[0], 400), Math.max(node.size[1], node.computeSize()[1])]);
	queueMicrotask(refresh);
}

/** @type {T.after} */
function after(object, name, then) {
	const original = object?.[name];
	if (object) object[name] = function (/** @type {any[]} */ ...values) {
		const result = original?.apply(this, values);
		then(...values);
		return result;
	};
}

/** @type {T.timelinesOf} */
const timelinesOf = (id) => [...timelines].filter(({ node, context }) => node.graph && context.ids.includes(String(id)));

function listen() {
	/** @type {T.on} */
	const on = (name, act) => api.addEventListener(/** @type {any} */ (name), (/** @type {any} */ event) => act(event.detail));
	on("graphChanged", refreshAll);
	on("lumina-video.progress", (step) => timelinesOf(step.node).forEach((timeline) => timeline.showProgress(step)));
	on("lumina-video.result", (run) => timelinesOf(run.node).forEach((timeline) => timeline.showResult(run)));
	on("executed", ({ node, output }) => {
		const score = output?.lumina_motion?.[0];
		if (score >= 0) for (const timeline of timelines) if (timeline.context.measure === String(node)) timeline.showMotion(score);
	});
	for (const name of ["execution_error", "execution_interrupted"]) on(name, () => timelines.forEach((timeline) => timeline.stop()));
}

app.registerExtension({
	name: "lumina-video.timeline",
	async init() {
		document.head.append(element("link", "", { rel: "stylesheet", href: new URL("style.css", import.meta.url).href }));
		await loadTranslations();
		listen();
	},
	addCustomNodeDefs(defs) {
		const preset = /** @type {any} */ (defs.LuminaVideoPreset)?.input?.required?.preset ?? [];
		addSettings(preset[1]?.options ?? preset[0] ?? [], refreshAll);
	},
	nodeCreated(node) {
		if (!(kind(node) in TIMELINES)) return;
		applyDefaultPreset(node);
		addTimeline(node);
	},
});

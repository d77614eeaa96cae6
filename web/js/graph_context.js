// The nodes with a timeline, and the graph around them.

import { app } from "/scripts/app.js";

export const PRESET = "LuminaVideoPreset";

/** The bands from top to bottom. @type {Record<string, Field[]>} */
export const BANDS = { patch: ["patch"], guidance: ["guidance"], motion: ["motion", "negative_motion"] };
const { patch, guidance, motion } = BANDS;
const all = Object.values(BANDS).flat();

/** What the timeline of each node edits. @type {Record<string, Field[]>} */
export const TIMELINES = {
	LuminaVideoMultiScaleSampler: all,
	[PRESET]: all,
	LuminaVideoPatchSchedule: patch,
	LuminaVideoSplitSigmas: patch,
	LuminaVideoGuidance: guidance,
	LuminaVideoGuider: guidance,
	LuminaVideoMotionScore: motion,
};

/** @type {T.kind} */
export const kind = (node) => String(node.comfyClass ?? node.type);

/** @type {T.widgetOf} */
export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

/** @type {T.source} */
function source(node, name) {
	const link = node.inputs?.find((input) => input.name === name)?.link;
	if (link == null || !node.graph) return undefined;
	const { links } = /** @type {any} */ (node.graph);
	return node.graph.getNodeById((links.get?.(link) ?? links[link])?.origin_id);
}

/** @type {T.gather} */
export function gather(node) {
	const connected = [node];
	// The loop also visits nodes that it adds: nearest first.
	for (const near of connected) {
		const before = near.inputs?.map((input) => source(near, input.name)) ?? [];
		const after = near.outputs?.flatMap((_, slot) => near.getOutputNodes(slot) ?? []) ?? [];
		for (const next of [...before, ...after]) if (next && !connected.includes(next)) connected.push(next);
	}
	const links = Object.fromEntries(TIMELINES[kind(node)].map((field) => [field, source(node, field)]));
	const nodes = connected.filter((near) => /^(LuminaVideo|KSampler)/.test(kind(near))).map((near) => {
		const free = near.widgets?.filter(({ name }) => source(near, name) === undefined) ?? [];
		return { kind: kind(near), inputs: Object.fromEntries(free.map(({ name, value }) => [name, value])) };
	});
	const measure = String(connected.find((near) => kind(near) === "LuminaVideoMeasureMotion")?.id);
	return { links, nodes, measure, ids: connected.map(({ id }) => String(id)) };
}

/** Record the state in the host's undo history. */
export function remember() {
	const tracker = /** @type {any} */ (app.extensionManager.workflow).activeWorkflow?.changeTracker;
	// The older host has only checkState.
	if (tracker) (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
}

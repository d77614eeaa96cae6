// Which nodes have a timeline, and what the graph says about their plans.

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
	const joined = [node];
	// What is added on the way is visited, too: nearest first.
	for (const near of joined) {
		const before = near.inputs?.map((input) => source(near, input.name)) ?? [];
		const after = near.outputs?.flatMap((_, slot) => near.getOutputNodes(slot) ?? []) ?? [];
		for (const next of [...before, ...after]) if (next && !joined.includes(next)) joined.push(next);
	}
	const links = Object.fromEntries(TIMELINES[kind(node)].map((field) => [field, source(node, field)]));
	const nodes = joined.filter((near) => /^(LuminaVideo|KSampler)/.test(kind(near))).map((near) => {
		const free = near.widgets?.filter(({ name }) => source(near, name) === undefined) ?? [];
		return { kind: kind(near), inputs: Object.fromEntries(free.map(({ name, value }) => [name, value])) };
	});
	const measure = String(joined.find((near) => kind(near) === "LuminaVideoMeasureMotion")?.id);
	return { links, nodes, measure, ids: joined.map(({ id }) => String(id)) };
}

/** Let the host's undo know what stands now. */
export function remember() {
	const tracker = /** @type {any} */ (app.extensionManager.workflow).activeWorkflow?.changeTracker;
	// The older host knows the older name.
	if (tracker) (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
}

// The timeline's axis: positions of t and of steps.

// By priority: without space, the last are left out.
const TIMES = [0, 1, 0.5, 0.1, 0.2, 0.3, 0.7, 0.05, 0.02, 0.4, 0.01, 0.6, 0.8, 0.9];
/** Smallest distance between two labels, as a share of the axis. */
const MIN_GAP = 0.075;

/** @type {AxisMap} */
export const toShare = (t, kind) => (kind === "linear" ? t : Math.sqrt(t));

/** The inverse; clamps to 0 to 1. @type {AxisMap} */
export function toTime(share, kind) {
	const inside = Math.min(1, Math.max(0, share));
	return kind === "linear" ? inside : inside * inside;
}

/** The first step, from 1, that starts at or after t; one more than there are if none does. @type {GridMap} */
export function stepAt(grid, t) {
	const index = grid.slice(0, -1).findIndex((start) => start >= t);
	return index < 0 ? grid.length : index + 1;
}

/** A time with few digits between the starts of `step` and the previous one. @type {GridMap} */
export function beforeStep(grid, step) {
	const at = Math.min(grid.length - 1, Math.max(2, step)) - 1;
	const middle = (grid[at - 1] + grid[at]) / 2;
	const rounded = [1, 2, 3, 4, 5, 6].map((digits) => Number(middle.toPrecision(digits)));
	return rounded.find((t) => t > grid[at - 1] && t < grid[at]) ?? middle;
}

/** @type {T.ticks} */
export function ticks(kind, grid) {
	const steps = (grid ?? []).slice(1).map((_, index) => index + 1);
	const round = [50, 20, 10, 5, 2, 1].flatMap((every) => steps.filter((step) => step % every === 0));
	const kept = /** @type {Tick[]} */ ([]);
	for (const number of grid ? [1, steps.length, ...round] : TIMES) {
		const share = toShare(grid ? grid[number - 1] : number, kind);
		if (kept.every((tick) => Math.abs(tick.share - share) >= MIN_GAP)) kept.push({ text: String(number), share });
	}
	return kept;
}

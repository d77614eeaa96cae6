// Editing a schedule. Python parses its text, this file writes it; a fixture tests both.

/** Smallest distance between dragged boundaries, and their rounding. */
export const GAP = 0.001;

/** @type {T.numberText} */
export function numberText(x) {
	const size = Math.abs(x);
	if (size && (size < 1e-4 || size >= 1e16)) return x.toExponential().replace(/(?<=e[+-])\d$/, "0$&");
	return Object.is(x, -0) ? "-0" : String(x);
}

/** @type {T.valueText} */
export const valueText = (value) => (value === null ? "none" : typeof value === "number" ? numberText(value) : value);

/** @type {T.format} */
export function format({ values, thresholds }) {
	return values.map((value, i) => (i ? `${numberText(thresholds[i - 1])}: ` : "") + valueText(value)).join(" | ");
}

/** @type {T.span} */
export const span = ({ thresholds }, index) => [index ? thresholds[index - 1] : 0, thresholds[index] ?? 1];

/** A boundary moved to about t, if the adjacent boundaries leave space. @type {Edit<number>} */
export function moveBoundary(schedule, index, t) {
	const { thresholds } = schedule;
	const low = (thresholds[index - 1] ?? 0) + GAP;
	const high = (thresholds[index + 1] ?? 1) - GAP;
	const rounded = Math.round(Math.min(high, Math.max(low, t)) / GAP) / 1000;
	return low <= high && !Number.isNaN(t) ? setThreshold(schedule, index, rounded) : schedule;
}

/** A boundary moved to exactly t, even if invalid. @type {Edit<number>} */
export function setThreshold({ values, thresholds }, index, t) {
	return { values, thresholds: thresholds.with(index, t) };
}

/** @type {Edit<Value>} */
export function setValue({ values, thresholds }, index, value) {
	return { values: values.with(index, value), thresholds };
}

/** A segment split at t, if it is long enough. @type {Edit<number>} */
export function split(schedule, index, t) {
	const { values, thresholds } = schedule;
	const [start, end] = span(schedule, index);
	const twice = { values: values.toSpliced(index, 0, values[index]), thresholds: thresholds.toSpliced(index, 0, t) };
	return end - start > 2 * GAP ? moveBoundary(twice, index, t) : schedule;
}

/** @type {T.remove} */
export function remove(schedule, index) {
	const { values, thresholds } = schedule;
	if (values.length === 1) return schedule;
	return { values: values.toSpliced(index, 1), thresholds: thresholds.toSpliced(Math.max(0, index - 1), 1) };
}

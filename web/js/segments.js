// Editing a schedule: pure functions from one schedule to the next. Reading text is Python's; writing it is here, and a
// fixture that both sides test keeps the two the same.

/** @typedef {string | number | null} Value a patch size as text, a number, or null for none */
/** @typedef {{values: Value[], thresholds: number[]}} Schedule values[i + 1] holds from thresholds[i] on */

const ROUND = 1000;
/** Least distance between two boundaries that are dragged. */
export const GAP = 1 / ROUND;

/** @param {number} x As Python's repr writes it, without ".0". */
export function numberText(x) {
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    return x.toExponential().replace(/e([+-])(\d)$/, (_, sign, digit) => `e${sign}0${digit}`);
  }
  return Object.is(x, -0) ? "-0" : String(x);
}

/** @param {Value} value */
export function valueText(value) {
  return value === null ? "none" : typeof value === "number" ? numberText(value) : value;
}

/** Canonical text. @param {Schedule} schedule */
export function format({ values, thresholds }) {
  return values.map((value, i) => (i ? `${numberText(thresholds[i - 1])}: ` : "") + valueText(value)).join(" | ");
}

/** Where segment `index` starts and ends. @param {Schedule} schedule @param {number} index @returns {[number, number]} */
export function span({ thresholds }, index) {
  return [index ? thresholds[index - 1] : 0, thresholds[index] ?? 1];
}

/**
 * Boundary `index` at `t`, rounded to a thousandth and kept between its neighbours.
 * @param {Schedule} schedule @param {number} index @param {number} t
 */
export function moveBoundary(schedule, index, t) {
  const low = (schedule.thresholds[index - 1] ?? 0) + GAP;
  const high = (schedule.thresholds[index + 1] ?? 1) - GAP;
  // Neighbours nearer than that leave no room: it stays.
  if (!(low <= high) || Number.isNaN(t)) return schedule;
  return setThreshold(schedule, index, Math.round(Math.min(high, Math.max(low, t)) * ROUND) / ROUND);
}

/** Boundary `index` at exactly `t`, be it allowed or not. @param {Schedule} schedule @param {number} index @param {number} t */
export function setThreshold(schedule, index, t) {
  return { values: schedule.values, thresholds: schedule.thresholds.with(index, t) };
}

/** @param {Schedule} schedule @param {number} index @param {Value} value */
export function setValue(schedule, index, value) {
  return { values: schedule.values.with(index, value), thresholds: schedule.thresholds };
}

/** Two segments of the same value in place of `index`, the second from `t` on. @param {Schedule} schedule @param {number} index @param {number} t */
export function split(schedule, index, t) {
  const split = {
    values: schedule.values.toSpliced(index, 0, schedule.values[index]),
    thresholds: schedule.thresholds.toSpliced(index, 0, t),
  };
  const [start, end] = span(schedule, index);
  return end - start > 2 * GAP ? moveBoundary(split, index, t) : schedule;
}

/** Without segment `index`: the one before it goes on, or the second becomes the first. @param {Schedule} schedule @param {number} index */
export function remove(schedule, index) {
  if (schedule.values.length === 1) return schedule;
  return {
    values: schedule.values.toSpliced(index, 1),
    thresholds: schedule.thresholds.toSpliced(Math.max(0, index - 1), 1),
  };
}

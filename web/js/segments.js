// Editing a schedule: from one schedule to the next. Reading text is Python's; writing it is here, and a fixture that
// both sides test keeps the two the same.

const ROUND = 1000;
/** Least distance between boundaries that are dragged. */
export const GAP = 1 / ROUND;

/** As Python's repr, without ".0". @param {number} x */
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

/** Start and end of a segment. @param {Schedule} schedule @param {number} index @returns {[number, number]} */
export function span({ thresholds }, index) {
  return [index ? thresholds[index - 1] : 0, thresholds[index] ?? 1];
}

/** A boundary at t, rounded and kept between its neighbours. @param {Schedule} schedule @param {number} index @param {number} t */
export function moveBoundary(schedule, index, t) {
  const low = (schedule.thresholds[index - 1] ?? 0) + GAP;
  const high = (schedule.thresholds[index + 1] ?? 1) - GAP;
  // Neighbours nearer than that leave no room: it stays.
  if (!(low <= high) || Number.isNaN(t)) return schedule;
  return setThreshold(schedule, index, Math.round(Math.min(high, Math.max(low, t)) * ROUND) / ROUND);
}

/** A boundary at exactly t, allowed or not. @param {Schedule} schedule @param {number} index @param {number} t */
export function setThreshold({ values, thresholds }, index, t) {
  return { values, thresholds: thresholds.with(index, t) };
}

/** @param {Schedule} schedule @param {number} index @param {Value} value */
export function setValue({ values, thresholds }, index, value) {
  return { values: values.with(index, value), thresholds };
}

/** Segment `index` twice, the second from t on. @param {Schedule} schedule @param {number} index @param {number} t */
export function split(schedule, index, t) {
  const { values, thresholds } = schedule;
  const [start, end] = span(schedule, index);
  if (end - start <= 2 * GAP) return schedule;
  const twice = { values: values.toSpliced(index, 0, values[index]), thresholds: thresholds.toSpliced(index, 0, t) };
  return moveBoundary(twice, index, t);
}

/** The one before `index` goes on, or the second becomes the first. @param {Schedule} schedule @param {number} index */
export function remove(schedule, index) {
  const { values, thresholds } = schedule;
  if (values.length === 1) return schedule;
  return { values: values.toSpliced(index, 1), thresholds: thresholds.toSpliced(Math.max(0, index - 1), 1) };
}

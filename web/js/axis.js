// Where flow time t lies on the picture's axis, and which step starts there.

// The first are the last to go where room is short.
const TIMES = [0, 1, 0.5, 0.1, 0.2, 0.3, 0.7, 0.05, 0.02, 0.4, 0.01, 0.6, 0.8, 0.9];
/** Least distance between two marks, as a share of the axis. */
const ROOM = 0.075;

/** @param {number} t @param {AxisKind} kind */
export function toShare(t, kind) {
  return kind === "linear" ? t : Math.sqrt(t);
}

/** The inverse; what lies outside is taken to the end. @param {number} share @param {AxisKind} kind */
export function toTime(share, kind) {
  const inside = Math.min(1, Math.max(0, share));
  return kind === "linear" ? inside : inside * inside;
}

/** The first step, from 1, that starts at or after t; one more than there are where none does. @param {number[]} grid @param {number} t */
export function stepAt(grid, t) {
  const index = grid.findIndex((start) => start >= t);
  return index < 0 ? grid.length : Math.min(index, grid.length - 1) + 1;
}

/** A time between the starts of step `step - 1` and `step`, of as few digits as will do. @param {number[]} grid @param {number} step */
export function beforeStep(grid, step) {
  const at = Math.min(grid.length - 1, Math.max(2, step)) - 1;
  const [low, high] = [grid[at - 1], grid[at]];
  for (let digits = 1; digits < 16; digits += 1) {
    const t = Number(((low + high) / 2).toPrecision(digits));
    if (t > low && t < high) return t;
  }
  return (low + high) / 2;
}

/** Times to write on the axis. @param {AxisKind} kind */
export function timeTicks(kind) {
  return spread(TIMES.map((t) => ({ text: String(t), share: toShare(t, kind) })));
}

/** Steps to write where they start. @param {number[]} grid @param {AxisKind} kind */
export function stepTicks(grid, kind) {
  const steps = grid.length - 1;
  const numbers = [1, steps];
  for (const every of [50, 20, 10, 5, 2, 1]) for (let n = every; n < steps; n += every) numbers.push(n);
  return spread(numbers.map((n) => ({ text: String(n), share: toShare(grid[n - 1], kind) })));
}

/** Those that have room beside the ones before them. @param {Tick[]} ticks */
function spread(ticks) {
  const kept = /** @type {Tick[]} */ ([]);
  for (const tick of ticks) if (kept.every(({ share }) => Math.abs(share - tick.share) >= ROOM)) kept.push(tick);
  return kept;
}

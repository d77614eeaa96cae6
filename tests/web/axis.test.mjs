// Where t lies on the axis, and which step starts there: steps as Python counts them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FIXTURE, load } from "./modules.mjs";

const { toShare, toTime, stepAt } = await load("axis.js");

for (const kind of ["sqrt", "linear"]) {
  test(`${kind} axis: t to share and back`, () => {
    assert.deepEqual([toShare(0, kind), toShare(1, kind)], [0, 1]);
    let before = -1;
    for (let t = 0; t <= 1; t += 1 / 64) {
      const share = toShare(t, kind);
      assert.ok(share > before, `rises at ${t}`);
      assert.ok(Math.abs(toTime(share, kind) - t) < 1e-12, `comes back at ${t}`);
      before = share;
    }
  });

  test(`${kind} axis: a pointer outside is taken to the end`, () => {
    assert.deepEqual([toTime(-0.5, kind), toTime(1.5, kind)], [0, 1]);
  });
}

test("the square root gives early times more room", () => {
  assert.equal(toShare(0.04, "sqrt"), 0.2);
  assert.equal(toShare(0.04, "linear"), 0.04);
});

for (const { points, time_shift: shift, grid, first_step: firsts } of FIXTURE.grids) {
  test(`first step after a threshold: ${points} points, shift ${shift}`, () => {
    for (const [t, first] of firsts) assert.equal(stepAt(grid, t), first, `t = ${t}`);
    grid.slice(0, -1).forEach((t, index) => assert.equal(stepAt(grid, t), index + 1, `step ${index + 1} starts at ${t}`));
  });
}

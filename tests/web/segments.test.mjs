// The page writes schedules as Python does, and every edit ends in text that Python reads back: the texts are those that
// tests/core/test_schedule_fixture.py checks.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FIXTURE, load } from "./modules.mjs";

const segments = await load("segments.js");

for (const { name, canonical, values, thresholds } of FIXTURE.valid) {
  test(`canonical text: ${name}`, () => {
    assert.equal(segments.format({ values, thresholds }), canonical);
  });
}

for (const { name, from, do: steps, to } of FIXTURE.edits) {
  test(`edit: ${name}`, () => {
    const before = structuredClone(from);
    const after = steps.reduce((schedule, [action, ...rest]) => segments[action](schedule, ...rest), from);
    assert.equal(segments.format(after), to);
    assert.deepEqual(from, before, "an edit leaves the schedule that it starts from as it is");
  });
}

test("a boundary can be dragged anywhere, and thresholds stay in rising order inside (0, 1)", () => {
  for (const { values, thresholds } of FIXTURE.valid.filter((entry) => entry.thresholds.length)) {
    for (let share = -0.1; share <= 1.1; share += 0.0625) {
      for (let index = 0; index < thresholds.length; index += 1) {
        const moved = segments.moveBoundary({ values, thresholds }, index, share).thresholds;
        const rising = moved.every((t, i) => t > (moved[i - 1] ?? 0) && t < 1);
        assert.ok(rising, `boundary ${index} of ${thresholds} to ${share} gave ${moved}`);
      }
    }
  }
});

test("what is no number moves nothing", () => {
  const schedule = { values: [20, 0], thresholds: [0.2] };
  assert.equal(segments.format(segments.moveBoundary(schedule, 0, NaN)), "20 | 0.2: 0");
});

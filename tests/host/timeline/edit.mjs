// Editing a schedule on the timeline: by pointer, by keyboard, by its menu, by the budget.
import assert from "node:assert/strict";
import { centre, check, until } from "./check.mjs";

const PATCH = "LuminaVideoPatchSchedule";
const PRESET_PATCH = "2x4 | 0.03: 2x2 | 0.125: 1x2";

/** Threshold `index` of the text field. */
async function threshold(node, field, index) {
  const { text } = await node.ask("values", field);
  return Number(text.split("|")[index + 1].split(":")[0]);
}

check("drag of a boundary", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  await node.drag("patch", 0, 0.06);
  // The text follows with the answers, so it may be a move behind.
  await until(() => threshold(node, "patch", 0), (t) => t !== 0.03, "text while dragging");
  await node.drop();
  const t = await threshold(node, "patch", 0);
  assert.ok(Math.abs(t - 0.06) < 0.004, `dragged to t = 0.06, found ${t}`);
  await node.is("patch", `2x4 | ${t}: 2x2 | 0.125: 1x2`, ["2x4", "2x2", "1x2"], [t, 0.125]);
});

check("drag stops at the neighbours", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  await node.drag("patch", 0, 0.8);
  await node.drop();
  await node.is("patch", "2x4 | 0.124: 2x2 | 0.125: 1x2", ["2x4", "2x2", "1x2"], [0.124, 0.125]);
  await node.ask("put", "patch", PRESET_PATCH);
  await node.draws("patch", ["2x4", "2x2", "1x2"], [0.03, 0.125]);
  await node.drag("patch", 1, 0);
  await node.drop();
  await node.is("patch", "2x4 | 0.03: 2x2 | 0.031: 1x2", ["2x4", "2x2", "1x2"], [0.03, 0.031]);
});

check("drag on the linear axis", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const middle = async () => (await centre(node.handle("patch", 1))).x;
  const before = await middle();
  await session.set("LuminaVideo.Axis", "linear");
  try {
    await until(middle, (x) => x < before - 5, "the boundary at t = 0.125 moves left on a linear axis");
    await node.drag("patch", 1, 0.6, { axis: "linear" });
    await node.drop();
    const t = await until(() => threshold(node, "patch", 1), (found) => Math.abs(found - 0.6) < 0.004, "t where the pointer was");
    await node.is("patch", `2x4 | 0.03: 2x2 | ${t}: 1x2`, ["2x4", "2x2", "1x2"], [0.03, t]);
  } finally {
    await session.set("LuminaVideo.Axis", "square root");
  }
  await until(middle, (x) => x > before, "back on the square root");
});

check("drag of the negative motion beside the positive", async (session) => {
  const node = await session.fresh("LuminaVideoMotionScore", { motion: "6", negative_motion: "2 | 0.05: 6" });
  await node.settled();
  await node.drag("negative_motion", 0, 0.2);
  await node.drop();
  const t = await until(() => threshold(node, "negative_motion", 0), (found) => Math.abs(found - 0.2) < 0.006, "t of the drag");
  await node.is("negative_motion", `2 | ${t}: 6`, [2, 6], [t]);
  await node.is("motion", "6", [6], []);
});

check("arrow keys move a boundary by steps and by thousandths", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const handle = node.handle("patch", 1);
  const step = async () => Number(/\d+(?=\D*$)/.exec(await handle.getAttribute("aria-valuetext"))?.[0]);
  const before = await step();
  await node.focus(handle);
  await session.page.keyboard.press("ArrowRight");
  await until(step, before + 1, "one step on");
  const t = await threshold(node, "patch", 1);
  assert.ok(t > 0.125, `t rose to ${t}`);
  await node.is("patch", `2x4 | 0.03: 2x2 | ${t}: 1x2`, ["2x4", "2x2", "1x2"], [0.03, t]);
  await session.page.keyboard.press("ArrowLeft");
  await session.page.keyboard.press("ArrowLeft");
  await until(step, before - 1, "two steps back; the boundary kept the focus");
  await node.ask("put", "patch", PRESET_PATCH);
  await node.draws("patch", ["2x4", "2x2", "1x2"], [0.03, 0.125]);
  await node.focus(node.handle("patch", 0));
  await session.page.keyboard.press("Shift+ArrowRight");
  await node.is("patch", "2x4 | 0.031: 2x2 | 0.125: 1x2", ["2x4", "2x2", "1x2"], [0.031, 0.125]);
  await session.page.keyboard.press("Shift+ArrowLeft");
  await session.page.keyboard.press("Shift+ArrowLeft");
  await node.is("patch", "2x4 | 0.029: 2x2 | 0.125: 1x2", ["2x4", "2x2", "1x2"], [0.029, 0.125]);
});

check("Enter on a boundary takes a typed t, Escape leaves it", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const { keyboard } = session.page;
  await node.focus(node.handle("patch", 0));
  await keyboard.press("Enter");
  await keyboard.type("0.0625");
  await keyboard.press("Enter");
  await node.is("patch", "2x4 | 0.0625: 2x2 | 0.125: 1x2", ["2x4", "2x2", "1x2"], [0.0625, 0.125]);
  await node.focus(node.handle("patch", 0));
  await keyboard.press("Enter");
  await keyboard.type("0.07");
  await keyboard.press("Escape");
  await until(() => session.page.locator(".lumina-entry").count(), 0, "the field is closed");
  await node.holds("patch", "2x4 | 0.0625: 2x2 | 0.125: 1x2");
});

check("Delete on a boundary merges", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  await node.focus(node.handle("patch", 1));
  await session.page.keyboard.press("Delete");
  await node.is("patch", "2x4 | 0.03: 2x2", ["2x4", "2x2"], [0.03]);
  assert.deepEqual(await session.ids(PATCH), [node.id], "the node itself stays");
});

check("arrow keys change a value", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  await node.focus(node.segment("patch", 0));
  await session.page.keyboard.press("ArrowUp");
  await node.is("patch", "2x2 | 0.03: 2x2 | 0.125: 1x2", ["2x2", "2x2", "1x2"], [0.03, 0.125]);
  await session.page.keyboard.press("ArrowDown");
  await node.is("patch", PRESET_PATCH, ["2x4", "2x2", "1x2"], [0.03, 0.125]);
});

check("menu by keys", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const { keyboard } = session.page;
  const focused = () => session.page.evaluate(() => ({ ...document.activeElement.dataset }));
  await node.focus(node.segment("patch", 1));
  await keyboard.press("Enter");
  await until(async () => (await focused()).action, "set", "the first entry has the focus");
  const first = (await focused()).value;
  await keyboard.press("ArrowDown");
  await until(async () => (await focused()).value, (value) => value !== first, "the next entry has the focus");
  await keyboard.press("Escape");
  await until(() => session.page.locator(".lumina-menu").count(), 0, "Escape closes");
  await until(async () => (await focused()).index, "1", "the segment has the focus again");
  await node.holds("patch", PRESET_PATCH);
  await keyboard.press("Space");
  for (let left = 12; left && (await focused()).value !== "1x2"; left -= 1) await keyboard.press("ArrowDown");
  await keyboard.press("Enter");
  await node.is("patch", "2x4 | 0.03: 1x2 | 0.125: 1x2", ["2x4", "1x2", "1x2"], [0.03, 0.125]);
});

check("menu by mouse: set, split, delete", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const choose = async (index, entry) => {
    await node.segment("patch", index).click();
    await session.page.locator(`.lumina-menu ${entry}`).click();
    await until(() => session.page.locator(".lumina-menu").count(), 0, "the menu is closed");
  };
  await choose(2, '[data-action="set"][data-value="2x2"]');
  await node.is("patch", "2x4 | 0.03: 2x2 | 0.125: 2x2", ["2x4", "2x2", "2x2"], [0.03, 0.125]);
  await choose(2, '[data-action="split"]');
  const t = await until(() => threshold(node, "patch", 2), (found) => found > 0.125 && found < 1, "t of the split");
  await node.is("patch", `2x4 | 0.03: 2x2 | 0.125: 2x2 | ${t}: 2x2`, ["2x4", "2x2", "2x2", "2x2"], [0.03, 0.125, t]);
  await choose(1, '[data-action="delete"]');
  await node.is("patch", `2x4 | 0.125: 2x2 | ${t}: 2x2`, ["2x4", "2x2", "2x2"], [0.125, t]);
});

check("menu: type a value", async (session) => {
  const node = await session.fresh("LuminaVideoGuidance");
  await node.settled();
  await node.segment("guidance", 0).click();
  await session.page.locator('.lumina-menu [data-action="type"]').click();
  await session.page.keyboard.type("7.25");
  await session.page.keyboard.press("Enter");
  await node.is("guidance", "7.25 | 0.2: 0", ["7.25", "0"], [0.2]);
});

check("a typed t that is impossible is marked, and nothing is lost", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  await node.focus(node.handle("patch", 0));
  await session.page.keyboard.press("Enter");
  await session.page.keyboard.type("0.5");
  await session.page.keyboard.press("Enter");
  await node.holds("patch", "2x4 | 0.5: 2x2 | 0.125: 1x2");
  const { error, mark } = await node.settled("error");
  assert.match(error, /Segment 3 starts at t = 0.125/);
  assert.equal(mark, "0.125: 1x2");
});

check("budget handle", async (session) => {
  const node = await session.fresh(PATCH, { patch: "1x2" });
  const before = await node.settled();
  const handle = node.part(".lumina-budget");
  const factor = async () => Number(await handle.getAttribute("aria-valuenow"));
  assert.equal(await factor(), 1, "1x2 throughout is as fast as itself");
  assert.ok(Number(await handle.getAttribute("aria-valuemax")) > 2, "how much faster can be asked for");
  await node.focus(handle);
  for (let presses = 0; presses < 4; presses += 1) {
    const now = await factor();
    await session.page.keyboard.press("ArrowRight");
    await until(factor, (found) => found > now, `faster than ${now} times`);
  }
  const faster = await factor();
  const { text } = await until(() => node.ask("values", "patch"), ({ text: found }) => found.includes("|"), "coarser patches first");
  await node.holds("patch", text);
  const after = await node.settled();
  assert.notEqual(after.cost, before.cost);
  const place = await centre(handle);
  await session.page.mouse.move(place.x, place.y);
  await session.page.mouse.down();
  await session.page.mouse.move(place.x + 80, place.y, { steps: 8 });
  await session.page.mouse.up();
  await until(factor, (found) => found > faster, "faster still where it was dragged to");
  // The last answer may still be under way.
  await session.page.waitForTimeout(700);
  const dragged = await node.ask("values", "patch");
  assert.notEqual(dragged.text, text);
  const parts = dragged.text.split(" | ").map((part) => part.split(": "));
  await node.is("patch", dragged.text, parts.map((part) => part.at(-1)), parts.slice(1).map(([t]) => Number(t)));
  await session.command("Control+z");
  await node.holds("patch", text);
});

check("the preset node is read-only and follows its list", async (session) => {
  const node = await session.fresh("LuminaVideoPreset");
  await node.settled();
  await node.draws("guidance", [20, 0], []);
  assert.equal(await node.part(".lumina-handle").count(), 0);
  await node.ask("put", "preset", "mini-MultiScale");
  await node.draws("guidance", [4, 0], []);
  await node.draws("patch", ["2x4", "2x2", "1x2"], []);
  await node.draws("negative_motion", ["none"], []);
});

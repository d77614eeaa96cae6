// The timeline as part of the host's graph: undo, copies, zoom, collapse, themes, reload, removal.
import assert from "node:assert/strict";
import { centre, check, until } from "./check.mjs";

const PATCH = "LuminaVideoPatchSchedule";
const PRESET_PATCH = "2x4 | 0.03: 2x2 | 0.125: 1x2";
const VALUES = ["2x4", "2x2", "1x2"];

/** Drag boundary 0 and give the t that it got. */
async function dragged(node, t) {
  await node.drag("patch", 0, t);
  await node.drop();
  const { text } = await until(() => node.ask("values", "patch"), ({ text: now }) => !now.includes(" 0.03:"), "the text has changed");
  const found = Number(text.match(/\| ([\d.]+): 2x2/)[1]);
  assert.ok(Math.abs(found - t) < 0.004, `dragged to t = ${t}, found ${found}`);
  await node.is("patch", `2x4 | ${found}: 2x2 | 0.125: 1x2`, VALUES, [found, 0.125]);
  return found;
}

check("undo and redo after a drag", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const t = await dragged(node, 0.08);
  await session.command("Control+z");
  await node.is("patch", PRESET_PATCH, VALUES, [0.03, 0.125]);
  await session.command("Control+y");
  await node.is("patch", `2x4 | ${t}: 2x2 | 0.125: 1x2`, VALUES, [t, 0.125]);
  await session.command("Control+z");
  await node.is("patch", PRESET_PATCH, VALUES, [0.03, 0.125]);
});

check("undo after a key and after the menu", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  await node.focus(node.handle("patch", 0));
  await session.page.keyboard.press("Delete");
  await node.is("patch", "2x4 | 0.125: 1x2", ["2x4", "1x2"], [0.125]);
  await session.command("Control+z");
  await node.is("patch", PRESET_PATCH, VALUES, [0.03, 0.125]);
  await node.segment("patch", 2).click();
  await session.page.locator('.lumina-menu [data-action="set"][data-value="2x2"]').click();
  await node.is("patch", "2x4 | 0.03: 2x2 | 0.125: 2x2", ["2x4", "2x2", "2x2"], [0.03, 0.125]);
  await session.command("Control+z");
  await node.is("patch", PRESET_PATCH, VALUES, [0.03, 0.125]);
});

check("undo with the focus on the boundary that was moved", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  await dragged(node, 0.08);
  await session.page.keyboard.press("Control+z");
  await node.is("patch", PRESET_PATCH, VALUES, [0.03, 0.125]);
});

check("copy and paste of the node", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const t = await dragged(node, 0.05);
  await session.page.evaluate((id) => window.app.canvas.selectNode(window.luminaTest.node(id)), node.id);
  await session.page.mouse.move(900, 700);
  await session.command("Control+c");
  await session.command("Control+v");
  const copy = await until(() => session.others(node.id, PATCH), (ids) => ids.length === 1, "one copy").then(([id]) => session.at(id));
  await copy.is("patch", `2x4 | ${t}: 2x2 | 0.125: 1x2`, VALUES, [t, 0.125]);
  await copy.settled();
  await copy.ask("put", "patch", "1x2");
  await copy.is("patch", "1x2", ["1x2"], []);
  await node.is("patch", `2x4 | ${t}: 2x2 | 0.125: 1x2`, VALUES, [t, 0.125]);
});

/** Drag the other boundary in a view of the canvas; it is to land and to be drawn where the pointer is. */
async function dragInView(session, ...view) {
  const node = await session.fresh(PATCH);
  await session.ask("look", ...view);
  await session.page.waitForTimeout(300);
  await node.settled();
  await node.drag("patch", 1, 0.5);
  await node.drop();
  const { text } = await node.ask("values", "patch");
  const t = Number(text.split("|")[2].split(":")[0]);
  assert.ok(Math.abs(t - 0.5) < 0.01, `dragged to t = 0.5, found ${t}`);
  await node.is("patch", `2x4 | 0.03: 2x2 | ${t}: 1x2`, VALUES, [0.03, t]);
  const [track, handle] = [await node.track("patch", 1), await centre(node.handle("patch", 1))];
  const off = handle.x - (track.x + track.width * Math.sqrt(t));
  assert.ok(Math.abs(off) < 2, `the boundary is drawn ${off} pixels beside the pointer`);
}

check("drag lands where the pointer is: zoomed in and panned", (session) => dragInView(session, 1.7, -20, 30));

check("drag lands where the pointer is: zoomed out and panned", (session) => dragInView(session, 0.55, 700, 300));

check("collapsed and expanded again", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const t = await dragged(node, 0.07);
  await session.page.evaluate((id) => window.luminaTest.node(id).collapse(), node.id);
  await until(() => node.part(".lumina-segment").first().isVisible(), false, "a collapsed node shows no timeline");
  await node.holds("patch", `2x4 | ${t}: 2x2 | 0.125: 1x2`);
  await node.ask("put", "patch", PRESET_PATCH);
  await session.page.evaluate((id) => window.luminaTest.node(id).collapse(), node.id);
  await until(() => node.part(".lumina-segment").first().isVisible(), true, "the timeline is back");
  await node.is("patch", PRESET_PATCH, VALUES, [0.03, 0.125]);
  await node.settled();
});

check("dark and light palette", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const colors = () => node.part(".lumina-band-name").first().evaluate((name) => getComputedStyle(name).color);
  await session.palette("dark");
  const dark = await until(colors, (color) => color !== "", "a color");
  await session.palette("light");
  await until(colors, (color) => color !== dark, "the words change with the palette");
  const t = await dragged(node, 0.09);
  await session.palette("dark");
  await until(colors, dark, "dark again");
  await node.is("patch", `2x4 | ${t}: 2x2 | 0.125: 1x2`, VALUES, [t, 0.125]);
});

check("two nodes at once", async (session) => {
  const first = await session.fresh(PATCH);
  const second = await session.add(PATCH, { patch: "2x2 | 0.5: 1x2" }, [700, 60]);
  await first.settled();
  await second.settled();
  const t = await dragged(first, 0.06);
  await second.is("patch", "2x2 | 0.5: 1x2", ["2x2", "1x2"], [0.5]);
  await second.focus(second.handle("patch", 0));
  await session.page.keyboard.press("Delete");
  await second.is("patch", "2x2", ["2x2"], []);
  await first.is("patch", `2x4 | ${t}: 2x2 | 0.125: 1x2`, VALUES, [t, 0.125]);
});

check("removal of the node while its menu is open, and in the middle of a drag", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const remove = (id) => session.page.evaluate((of) => window.app.graph.remove(window.luminaTest.node(of)), id);
  await node.segment("patch", 2).click();
  await remove(node.id);
  await until(() => session.page.locator(".lumina-timeline").count(), 0, "no timeline is left");
  await session.page.mouse.click(800, 900);
  await until(() => session.page.locator(".lumina-menu").count(), 0, "no menu is left");
  const other = await session.add(PATCH);
  await other.settled();
  await other.drag("patch", 0, 0.1);
  await remove(other.id);
  await session.page.mouse.move(600, 500, { steps: 3 });
  await other.drop();
  await session.page.mouse.move(500, 400, { steps: 3 });
  await session.page.keyboard.press("ArrowLeft");
  await until(() => session.page.locator(".lumina-timeline").count(), 0, "no timeline is left");
});

check("nothing of ours runs while nothing happens", async (session) => {
  const node = await session.fresh("LuminaVideoMultiScaleSampler");
  await node.settled();
  await session.page.mouse.move(1500, 1000);
  await session.page.waitForTimeout(1500);
  const devtools = await session.context.newCDPSession(session.page);
  await devtools.send("Profiler.enable");
  await devtools.send("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  await devtools.send("Profiler.takePreciseCoverage");
  await session.page.waitForTimeout(2000);
  const { result } = await devtools.send("Profiler.takePreciseCoverage");
  await devtools.detach();
  const ours = result.filter(({ url }) => /\/lumina-video\/js\//.test(url));
  const called = ours.flatMap(({ url, functions }) =>
    functions.filter(({ functionName, ranges }) => functionName && ranges[0].count > 0).map(({ functionName }) => `${url.split("/").at(-1)} ${functionName}`));
  assert.deepEqual(called, []);
});

check("reload of the page", async (session) => {
  const node = await session.fresh(PATCH);
  await node.settled();
  const t = await dragged(node, 0.065);
  const text = `2x4 | ${t}: 2x2 | 0.125: 1x2`;
  const { workflow } = await session.ask("prompt");
  await session.page.waitForTimeout(1500);
  await session.reload();
  const kept = await session.find(PATCH);
  await kept.is("patch", text, VALUES, [t, 0.125]);
  await kept.settled();
  await session.loadGraph(workflow);
  const loaded = await session.find(PATCH);
  await loaded.is("patch", text, VALUES, [t, 0.125]);
  await loaded.settled();
});

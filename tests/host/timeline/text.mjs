// What is typed in the text field, good or bad, and what the queue says of it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { check, until } from "./check.mjs";

const { valid, invalid } = JSON.parse(readFileSync(new URL("../../fixtures/schedules.json", import.meta.url), "utf8"));
const NODES = {
  patch: "LuminaVideoPatchSchedule", guidance: "LuminaVideoGuidance",
  motion: "LuminaVideoMotionScore", negative_motion: "LuminaVideoMotionScore",
};

const RELEASED = ["1x2", "2x2", "2x4"];

/** Values of a canonical text. */
const texts = (canonical) => canonical.split(" | ").map((part) => part.split(": ").at(-1));

async function nodesByField(session) {
  await session.ask("start");
  const made = {};
  for (const [index, type] of [...new Set(Object.values(NODES))].entries()) made[type] = await session.add(type, {}, [40 + 520 * index, 60]);
  return Object.fromEntries(Object.entries(NODES).map(([field, type]) => [field, made[type]]));
}

/** Why the queue refuses the prompt of this graph, by node and input. */
async function refusal(session, id, field) {
  const answer = await session.page.evaluate(async () => {
    const { output } = await window.app.graphToPrompt();
    const asked = await fetch("/prompt", { method: "POST", body: JSON.stringify({ prompt: output }) });
    if (asked.ok) await fetch("/interrupt", { method: "POST" });
    return asked.json();
  });
  const errors = answer.node_errors?.[String(id)]?.errors ?? [];
  const found = errors.find((error) => error.extra_info?.input_name === field) ?? errors[0];
  return found?.details.replace(/^\w+ - /, "");
}

check("every schedule of the fixture, typed", async (session) => {
  const nodes = await nodesByField(session);
  for (const { field, text, canonical, thresholds } of valid) {
    await nodes[field].type(field, text);
    await nodes[field].is(field, text, texts(canonical), thresholds);
    const known = field !== "patch" || texts(canonical).every((patch) => RELEASED.includes(patch));
    await nodes[field].settled(known ? "ok" : "error");
  }
});

check("text that another part of the page sets", async (session) => {
  const node = await session.fresh(NODES.patch);
  await node.settled();
  await node.ask("put", "patch", "2X4|.05:1x2");
  await node.is("patch", "2X4|.05:1x2", ["2x4", "1x2"], [0.05]);
});

check("every bad text of the fixture: marked at its place, last good timeline drawn", async (session) => {
  const nodes = await nodesByField(session);
  for (const { field, text, error, span } of invalid) {
    const node = nodes[field];
    const good = field === "patch" ? "2x4 | 0.4: 1x2" : "3 | 0.4: 1";
    await node.ask("put", field, good);
    await node.draws(field, texts(good), [0.4]);
    await node.settled();
    await node.type(field, text);
    const shown = await until(() => node.shown(), (found) => found.state === "error" && found.error.includes(error), `error of ${text}`);
    // Where something is missing, a blank is marked.
    assert.equal(shown.mark.trim(), text.slice(...span), `the marked part of ${text}`);
    assert.ok(shown.mark.length > 0, "something to see");
    await node.holds(field, text);
    await node.draws(field, texts(good), [0.4]);
    await node.ask("put", field, good);
  }
});

check("bad text is not taken as markup", async (session) => {
  const node = await session.fresh(NODES.patch);
  await node.settled();
  await node.type("patch", '<img src=x class="planted">');
  await node.settled("error");
  assert.equal(await session.page.locator(".planted").count(), 0);
});

check("the queue refuses with the sentence that the timeline shows", async (session) => {
  await session.load("1_mini_text_to_video");
  const node = await session.find("LuminaVideoMultiScaleSampler");
  await node.settled();
  for (const [field, text] of [["patch", "2x4 | 0.03: 2x"], ["guidance", "20 | 0.2: NaN"], ["motion", "2 | 7: 6"], ["negative_motion", "2,5"]]) {
    await node.type(field, text);
    const shown = await node.settled("error");
    const said = await refusal(session, node.id, field);
    assert.ok(said && shown.error.startsWith(said), `timeline: ${shown.error}; queue: ${said}`);
    await node.holds(field, text);
    await node.type(field, "");
    await node.settled("ok");
  }
});

check("a size that the schedule cannot have: same sentence", async (session) => {
  await session.load("1_mini_text_to_video");
  const node = await session.find("LuminaVideoMultiScaleSampler");
  await node.settled();
  await node.ask("put", "frames", 12);
  const { error } = await until(() => node.shown(), (found) => found.state === "error" && found.error, "the error");
  const said = await refusal(session, node.id, "frames");
  assert.ok(said && error.includes(said), `timeline: ${error}; queue: ${said}`);
});

check("100 segments", async (session) => {
  const node = await session.fresh(NODES.guidance);
  await node.settled();
  const { text, canonical, thresholds } = valid.find((entry) => entry.name === "100 segments");
  await node.ask("put", "guidance", text);
  await node.is("guidance", text, texts(canonical), thresholds);
  const [whole, inner] = [await node.ask("box"), await node.ask("box", ".lumina-band")];
  assert.ok(inner.x >= whole.x - 1 && inner.x + inner.width <= whole.x + whole.width + 1, "the band stays inside");
  await node.focus(node.handle("guidance", 49));
  await session.page.keyboard.press("Shift+ArrowRight");
  const moved = canonical.replace("| 0.5: ", "| 0.501: ");
  await node.is("guidance", moved, texts(canonical), thresholds.with(49, 0.501));
});

// Schedules that come from a link: nothing to edit, and what they hold is shown as soon as it is known.
import assert from "node:assert/strict";
import { check, until } from "./check.mjs";

const SAMPLER = "LuminaVideoMultiScaleSampler";

/** The host takes a prompt that it ran before from its cache, and then a node tells nothing. */
const newSeed = () => ["seed", Date.now() % 1e9];

async function readOnly(node, field) {
  assert.equal(await node.handle(field, 0).count(), 0, "no boundary to drag");
  await node.segment(field, 0).click({ force: true });
  assert.equal(await node.page.locator(".lumina-menu").count(), 0, "no menu");
  assert.equal(await node.part(".lumina-budget").isVisible(), false, "no budget to drag");
}

check("a preset node that is linked", async (session) => {
  const node = await session.fresh("LuminaVideoPatchSchedule");
  const preset = await session.add("LuminaVideoPreset", { preset: "mini-MultiScale" }, [700, 60]);
  await node.settled();
  await session.ask("connect", preset.id, "patch", node.id, "patch");
  await node.settled("linked");
  await node.draws("patch", ["2x4", "2x2", "1x2"], []);
  await readOnly(node, "patch");
  await preset.ask("put", "preset", "mini");
  await node.draws("patch", ["1x2"], []);
  await session.page.evaluate((id) => {
    const found = window.luminaTest.node(id);
    found.disconnectInput(found.inputs.findIndex((input) => input.name === "patch"));
  }, node.id);
  await node.settled("ok");
  await node.is("patch", "2x4 | 0.03: 2x2 | 0.125: 1x2", ["2x4", "2x2", "1x2"], [0.03, 0.125]);
  assert.equal(await node.part(".lumina-budget").isVisible(), true, "the budget is back");
});

check("a linked text is shown after a run", async (session) => {
  await session.load("1_mini_text_to_video");
  const node = await session.find(SAMPLER);
  for (const [name, value] of [["frames", 8], ["points", 4], ["guidance", "0"], newSeed()]) await node.ask("put", name, value);
  const text = await session.add("PrimitiveString", { value: "2x4|.5:2x2" }, [40, 800]);
  await session.ask("connect", text.id, 0, node.id, "patch");
  await until(async () => (await node.shown())?.fields.patch, undefined, "a text that is not known yet is not drawn");
  await session.ask("run");
  await until(async () => (await node.shown())?.fields.patch, { values: ["2x4", "2x2"], thresholds: [] }, "the linked text");
  await readOnly(node, "patch");
  await node.holds("guidance", "0");
});

check("what runs is told: progress, then seconds per segment", async (session) => {
  await session.load("1_mini_text_to_video");
  const node = await session.find(SAMPLER);
  const values = [["frames", 8], ["points", 8], ["patch", "2x4 | 0.3: 2x2"], ["guidance", "4 | 0.5: 0"], newSeed()];
  for (const [name, value] of values) {
    await node.ask("put", name, value);
  }
  await node.settled();
  await session.page.evaluate((id) => {
    const told = (window.luminaTold = []);
    const status = window.luminaTest.timeline(id).querySelector(".lumina-status");
    new MutationObserver(() => told.push(status.textContent)).observe(status, { childList: true, characterData: true, subtree: true });
  }, node.id);
  await session.ask("run");
  const told = await session.page.evaluate(() => window.luminaTold);
  assert.ok(told.some((line) => /2x2.*[1-7].*7/.test(line)), `progress told: ${told}`);
  const { result } = await until(() => node.shown(), (shown) => /\d/.test(shown.result), "the result strip");
  assert.match(result, /s/);
});

check("cost follows the size in another node", async (session) => {
  const node = await session.fresh("LuminaVideoPatchSchedule");
  const sampler = await session.add("KSampler", {}, [600, 60]);
  const latent = await session.add("LuminaVideoEmptyLatent", {}, [600, 500]);
  await session.ask("connect", node.id, 0, sampler.id, "model");
  await session.ask("connect", latent.id, 0, sampler.id, "latent_image");
  const { cost } = await until(() => node.shown(), (shown) => shown?.cost, "a cost");
  await latent.ask("put", "width", 512);
  const smaller = await until(async () => (await node.shown()).cost, (found) => found !== cost, `cost, which was ${cost}`);
  await sampler.ask("put", "steps", 7);
  await until(async () => (await node.shown()).cost, (found) => found !== smaller, `cost, which was ${smaller}`);
});

// Workflows as they are shipped, made before there was a timeline.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { check, until } from "./check.mjs";

const NAMES = readdirSync(new URL("../../../workflows/", import.meta.url)).filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5));
const WITH_TIMELINE = [
  "LuminaVideoPatchSchedule", "LuminaVideoGuidance", "LuminaVideoGuider", "LuminaVideoMotionScore", "LuminaVideoPreset",
  "LuminaVideoSplitSigmas", "LuminaVideoMultiScaleSampler",
];

check("every shipped workflow shows its timelines without an error, inside their nodes", async (session) => {
  for (const name of NAMES) {
    await session.load(name);
    await session.ask("fit");
    for (const type of WITH_TIMELINE) {
      for (const id of await session.ids(type)) {
        const node = session.at(id);
        const shown = await until(() => node.shown(), (found) => ["ok", "linked"].includes(found?.state), `${name}: ${type}`);
        assert.equal(shown.error, "", `${name}: ${type}`);
        if (session.mode === "classic") await until(() => node.inside(), true, `${name}: the timeline of ${type} lies inside its node`);
      }
    }
  }
});

check("a workflow file keeps nothing of the timeline", async (session) => {
  await session.load("1_mini_text_to_video");
  const node = await session.find("LuminaVideoMultiScaleSampler");
  await node.settled();
  const { workflow, output } = await session.ask("prompt");
  assert.ok(!JSON.stringify([workflow, output]).includes("lumina_timeline"));
  const saved = workflow.nodes.find((candidate) => String(candidate.id) === String(node.id));
  assert.equal(saved.widgets_values.filter((value) => value !== null).length, 18);
});

check("an unknown preset of another version is told and kept", async (session) => {
  await session.load("1_mini_text_to_video");
  const { workflow } = await session.ask("prompt");
  const saved = workflow.nodes.find((node) => node.type === "LuminaVideoMultiScaleSampler");
  saved.widgets_values = saved.widgets_values.map((value) => (value === "mini-MultiScale" ? "f48-of-tomorrow" : value));
  await session.loadGraph(workflow);
  const node = await session.find("LuminaVideoMultiScaleSampler");
  const shown = await until(() => node.shown(), (found) => found && found.state !== "loading" && found.revision > 0, "the timeline");
  assert.equal((await node.ask("values", "preset")).text, "f48-of-tomorrow");
  assert.equal(shown.state, "error");
});

// The pack's settings.

import { app } from "/scripts/app.js";
import { PRESET, SAMPLER } from "./bands.js";
import { element } from "./dom.js";
import { kind, widgetOf } from "./graph_context.js";
import { ask } from "./plan_service.js";
import { word } from "./words.js";

const AXIS = "LuminaVideo.Axis";
const DEFAULT_PRESET = "LuminaVideo.DefaultPreset";
const CATEGORY = "Lumina-Video";
/** Stands for the preset that the nodes have by themselves. */
const NODES_OWN = "node's own";

/** @returns {AxisKind} */
export function axisKind() {
  return app.extensionManager.setting.get(AXIS) === "linear" ? "linear" : "sqrt";
}

/** A new node takes the user's preset; one that is loaded gets its own back right after. @param {GraphNode} node */
export function applyDefaultPreset(node) {
  const wanted = String(app.extensionManager.setting.get(DEFAULT_PRESET));
  const widget = widgetOf(node, "preset");
  const known = /** @type {string[]} */ (widget?.options.values ?? []);
  if (widget && [SAMPLER, PRESET].includes(kind(node)) && known.includes(wanted)) widget.value = wanted;
}

/** @param {string[]} presets that the nodes offer @param {() => void} onAxis */
export function makeSettings(presets, onAxis) {
  return [
    {
      id: AXIS, name: "Axis of the timeline", category: [CATEGORY, "Timeline", "Axis"], type: "combo",
      options: ["square root", "linear"], defaultValue: "square root", onChange: onAxis,
    },
    {
      id: DEFAULT_PRESET, name: "Preset of new nodes", category: [CATEGORY, "Timeline", "DefaultPreset"], type: "combo",
      options: [NODES_OWN, ...presets], defaultValue: NODES_OWN,
    },
    {
      id: "LuminaVideo.RememberTimings", name: "Remember how long runs take", category: [CATEGORY, "Timings", "Remember"],
      type: "boolean", defaultValue: true, onChange: setRemember,
    },
    {
      id: "LuminaVideo.EraseTimings", name: "Remembered runs", category: [CATEGORY, "Timings", "Erase"],
      type: eraseButton, defaultValue: undefined,
    },
  ];
}

/** @param {boolean} remember @param {boolean} [before] */
async function setRemember(remember, before) {
  // The page also calls this when it starts, and then there is nothing to change.
  if (before !== undefined && before !== remember) await ask("timings", { remember }).catch(() => null);
}

function eraseButton() {
  const button = element("button", "lumina-erase", { type: "button" });
  const show = (/** @type {{runs: number} | null} */ state) => {
    button.textContent = state?.runs ? word("erase", { runs: state.runs }) : word("erased");
    button.disabled = !state?.runs;
  };
  button.addEventListener("click", async () => show(await ask("timings", { erase: true }).catch(() => null)));
  ask("timings").then(show, () => show(null));
  return button;
}

// The pack's settings.

import { app } from "/scripts/app.js";
import { PRESET, SAMPLER } from "./bands.js";
import { element } from "./dom.js";
import { kind, widgetOf } from "./graph_context.js";
import { ask } from "./plan_service.js";
import { word } from "./words.js";

const AXIS = "LuminaVideo.Axis";
const DEFAULT_PRESET = "LuminaVideo.DefaultPreset";
/** Stands for the preset that the nodes have by themselves. */
const OWN = "node's own";

/** @returns {AxisKind} */
export const axisKind = () => (app.extensionManager.setting.get(AXIS) === "linear" ? "linear" : "sqrt");

/** A new node takes the user's preset; one that is loaded gets its own back right after. @param {GraphNode} node */
export function applyDefaultPreset(node) {
  const wanted = String(app.extensionManager.setting.get(DEFAULT_PRESET));
  const widget = [SAMPLER, PRESET].includes(kind(node)) && widgetOf(node, "preset");
  const known = /** @type {string[]} */ ((widget && widget.options.values) ?? []);
  if (widget && known.includes(wanted)) widget.value = wanted;
}

/** @param {string[]} presets that the nodes offer @param {() => void} onAxis */
export function addSettings(presets, onAxis) {
  const kinds = ["square root", "linear"];
  add(AXIS, "Timeline", "Axis of the timeline", { type: "combo", options: kinds, defaultValue: kinds[0], onChange: onAxis });
  add(DEFAULT_PRESET, "Timeline", "Preset of new nodes", { type: "combo", options: [OWN, ...presets], defaultValue: OWN });
  // The page also calls it when it starts, and then there is nothing to change.
  const onChange = (/** @type {boolean} */ remember, /** @type {unknown} */ before) => {
    if (before !== undefined) ask("timings", { remember });
  };
  const remember = { type: "boolean", defaultValue: true, onChange };
  add("LuminaVideo.RememberTimings", "Timings", "Remember how long runs take", remember);
  add("LuminaVideo.EraseTimings", "Timings", "Remembered runs", { type: eraseButton });
}

/** @param {string} id @param {string} group @param {string} name @param {object} more */
function add(id, group, name, more) {
  app.ui.settings.addSetting(/** @type {any} */ ({ id, name, category: ["Lumina-Video", group, id], ...more }));
}

function eraseButton() {
  const button = element("button", "lumina-erase", { type: "button" });
  const show = (/** @type {{runs: number} | null} */ state) => {
    button.textContent = word(state?.runs ? "erase" : "erased", { ...state });
    button.disabled = !state?.runs;
  };
  button.onclick = async () => show(await ask("timings", { erase: true }));
  ask("timings").then(show);
  return button;
}

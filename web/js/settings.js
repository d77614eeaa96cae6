// The pack's settings. Their texts are in locales/*/settings.json.

import { app } from "/scripts/app.js";
import { ask, element, i18n } from "./page.js";
import { widgetOf } from "./graph_context.js";

/** Keeps each node's own default. */
const NODE_DEFAULT = "node default";

/** @type {T.setting} */
const setting = (name) => app.extensionManager.setting.get(`LuminaVideo.${name}`);

/** @returns {AxisKind} */
export const axisKind = () => (setting("Axis") === "linear" ? "linear" : "sqrt");

/** @type {T.applyDefaultPreset} */
export function applyDefaultPreset(node) {
	const wanted = String(setting("DefaultPreset"));
	const widget = widgetOf(node, "preset");
	if (/** @type {string[]} */ (widget?.options.values)?.includes(wanted)) Object.assign(widget ?? {}, { value: wanted });
}

/** @type {T.addSettings} */
export function addSettings(presets, onChange) {
	add("Timeline", "Axis", { type: "combo", options: ["square root", "linear"], defaultValue: "square root", onChange });
	add("Timeline", "DefaultPreset", { type: "combo", options: [NODE_DEFAULT, ...presets], defaultValue: NODE_DEFAULT });
	add("Timings", "RememberTimings", { type: "boolean", defaultValue: true, onChange: setRemember });
	add("Timings", "EraseTimings", { type: eraseButton });
}

/** @type {T.add} */
function add(group, name, more) {
	const id = `LuminaVideo.${name}`;
	app.ui.settings.addSetting(/** @type {any} */ ({ id, name, tooltip: name, category: ["Lumina-Video", group, name], ...more }));
}

/** @type {T.setRemember} */
function setRemember(remember, before) {
	if (before !== undefined) ask("timings", { remember });
}

function eraseButton() {
	const button = element("button", "lumina-erase", { type: "button" });
	const show = (/** @type {{runs: number} | null} */ state) => {
		button.textContent = i18n(state?.runs ? "erase" : "erased", { ...state });
		button.disabled = !state?.runs;
	};
	button.onclick = async () => show(await ask("timings", { erase: true }));
	ask("timings").then(show);
	return button;
}

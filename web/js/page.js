// Shared helpers: elements, dragging, translations of locales/*/main.json, requests.

import { app } from "/scripts/app.js";
import { api } from "/scripts/api.js";

/** @type {T.element} */
export function element(tag, className, { dataset, ...properties } = {}, ...children) {
	const made = Object.assign(document.createElement(tag), { className }, properties);
	Object.assign(made.dataset, dataset);
	made.append(...children);
	return made;
}

/** @type {T.shareAt} */
export function shareAt(track, { clientX }) {
	const { left, width } = track.getBoundingClientRect();
	return (clientX - left) / width;
}

/** @type {T.makeDraggable} */
export function makeDraggable(handle, track, move, end) {
	handle.onpointerdown = (event) => {
		if (event.button) return;
		consume(event);
		handle.focus();
		handle.setPointerCapture(event.pointerId);
		handle.onpointermove = (at) => move(shareAt(track, at));
		// Before the host handles the release and records its state for undo.
		handle.onpointerup = handle.onpointercancel = () => {
			handle.onpointermove = handle.onpointerup = handle.onpointercancel = null;
			end();
		};
	};
}

/** @type {T.address} */
export const address = (root, { classList, dataset: { field, index } }) => {
	return (field && root?.querySelector(`.${classList[0]}[data-field="${field}"][data-index="${index}"]`)) || null;
};

/** @type {T.consume} */
export function consume(event) {
	event.preventDefault();
	event.stopPropagation();
}

/** @type {T.arrow} */
export const arrow = ({ key }) => ({ ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 })[key] ?? 0;

let translations = /** @type {Record<string, string>} */ ({});

export async function loadTranslations() {
	const response = await api.fetchApi("/i18n").catch(() => null);
	const all = response?.ok ? await response.json() : {};
	const locale = String(app.extensionManager.setting.get("Comfy.Locale"));
	translations = { ...all.en?.luminaVideo, ...all[locale]?.luminaVideo };
}

/** @type {T.i18n} */
export const i18n = (key, values = {}) => (translations[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/** @type {T.count} */
export const count = (number) => number.toLocaleString("en");

/** @type {T.rough} */
export const rough = (number) => (number >= 100 ? count(Math.round(number)) : String(Number(number.toPrecision(2))));

/** @type {T.serviceAsk} */
export async function ask(path, body) {
	const post = body ? { method: "POST", body: JSON.stringify(body) } : {};
	const response = await api.fetchApi(`/lumina-video/${path}`, post).catch(() => null);
	return response?.ok ? response.json() : null;
}

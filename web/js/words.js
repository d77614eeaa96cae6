// The widget's words in the user's language, from locales/*/main.json, and numbers as words.

import { app } from "/scripts/app.js";
import { api } from "/scripts/api.js";

let words = /** @type {Record<string, string>} */ ({});

/** Load them once, before the first node is made. */
export async function loadWords() {
  const response = await api.fetchApi("/i18n").catch(() => null);
  const all = response?.ok ? await response.json() : {};
  const locale = String(app.extensionManager.setting.get("Comfy.Locale"));
  words = { ...all.en?.luminaVideo, ...all[locale]?.luminaVideo };
}

/** @type {T.word} */
export const word = (key, values = {}) => (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/** @type {T.count} */
export const count = (number) => number.toLocaleString("en");

/** @type {T.rough} */
export const rough = (number) => (number >= 100 ? count(Math.round(number)) : String(Number(number.toPrecision(2))));

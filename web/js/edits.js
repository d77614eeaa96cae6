// What the menu of a segment offers, and the field for a boundary's time.

import { openEntry, openMenu } from "./menu.js";
import { format, numberText, remove, setThreshold, setValue, split, valueText } from "./segments.js";
import { word } from "./words.js";

/** @param {import("./track.js").Track} track @param {number} index @param {number} t where to split @param {HTMLElement} anchor */
export function openSegmentMenu({ field, schedule, timeline }, index, t, anchor) {
  const items = /** @type {MenuItem[]} */ ([]);
  /** @param {string} action @param {string} text @param {() => void} run @param {string} [value] */
  const add = (action, text, run, value = "") => items.push({ action, text, run, value });
  const edit = (/** @type {Schedule} */ next) => timeline.edit(field, next, true);
  for (const value of field === "patch" ? timeline.patches : [field === "guidance" ? 0 : null]) {
    const text = valueText(value);
    add("set", value === 0 ? word("set_off") : text, () => edit(setValue(schedule, index, value)), text);
  }
  const enter = (/** @type {string} */ text) => timeline.editText(field, format(setValue(schedule, index, text.trim())));
  const type = () => openEntry(anchor, word(field), valueText(schedule.values[index]), enter);
  if (field !== "patch") add("type", word("type_value"), type);
  add("split", word("split"), () => edit(split(schedule, index, t)));
  if (schedule.thresholds.length) add("delete", word("delete"), () => edit(remove(schedule, index)));
  openMenu(anchor, word(field), items);
}

/** @param {import("./track.js").Track} track @param {number} index of the boundary @param {HTMLElement} anchor */
export function openTimeEntry({ field, schedule, timeline }, index, anchor) {
  openEntry(anchor, word("t_label"), numberText(schedule.thresholds[index]), (text) => {
    const t = Number(text.replace(",", "."));
    if (text.trim() && !Number.isNaN(t)) timeline.editText(field, format(setThreshold(schedule, index, t)));
  });
}

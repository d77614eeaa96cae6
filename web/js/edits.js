// The menu of a segment and the fields to type in: what they offer, and what they do to the schedule.

import { openEntry, openMenu } from "./menu.js";
import { format, numberText, remove, setThreshold, setValue, split, valueText } from "./segments.js";
import { word } from "./words.js";

/** @typedef {import("./timeline.js").Timeline} Timeline */
/** @typedef {import("./bands.js").Field} Field */

/** @param {Timeline} timeline @param {Field} field @param {number} index @param {number} t where to split @param {HTMLElement} anchor */
export function openSegmentMenu(timeline, field, index, t, anchor) {
  const schedule = timeline.schedules[field];
  if (!schedule) return;
  const edit = (/** @type {import("./segments.js").Schedule} */ next) => timeline.edit(field, next, true);
  const set = (/** @type {import("./segments.js").Value} */ value, /** @type {string} */ text) => {
    return { action: "set", value: valueText(value), text, run: () => edit(setValue(schedule, index, value)) };
  };
  const choices = {
    patch: () => timeline.patches.map((patch) => set(patch, word("set", { value: patch }))),
    guidance: () => [set(0, word("set_off"))],
    motion: () => [set(null, word("set_none"))],
    negative_motion: () => [set(null, word("set_none"))],
  };
  const type = { action: "type", value: "", text: word("type_value"), run: () => typeValue(timeline, field, index, anchor) };
  const items = [...choices[field](), ...(field === "patch" ? [] : [type])];
  items.push({ action: "split", value: "", text: word("split"), run: () => edit(split(schedule, index, t)) });
  if (schedule.values.length > 1) {
    items.push({ action: "delete", value: "", text: word("delete"), run: () => edit(remove(schedule, index)) });
  }
  openMenu(anchor, word(field), items);
}

/** @param {Timeline} timeline @param {Field} field @param {number} index @param {HTMLElement} anchor */
function typeValue(timeline, field, index, anchor) {
  const schedule = timeline.schedules[field];
  if (!schedule) return;
  openEntry(anchor, word("value_label", { field: word(field) }), valueText(schedule.values[index]), (text) => {
    timeline.editText(field, format(setValue(schedule, index, text.trim())));
  });
}

/** @param {Timeline} timeline @param {Field} field @param {number} index of the boundary @param {HTMLElement} anchor */
export function openTimeEntry(timeline, field, index, anchor) {
  const schedule = timeline.schedules[field];
  if (!schedule) return;
  openEntry(anchor, word("t_label"), numberText(schedule.thresholds[index]), (text) => {
    const t = Number(text);
    if (text.trim() && !Number.isNaN(t)) timeline.editText(field, format(setThreshold(schedule, index, t)));
  });
}

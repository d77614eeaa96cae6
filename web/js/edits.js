// What the menu of a segment offers, and the field for a boundary's time.

import { openEntry, openMenu } from "./menu.js";
import { format, numberText, remove, setThreshold, setValue, split, valueText } from "./segments.js";
import { word } from "./words.js";

/** @typedef {import("./timeline.js").Timeline} Timeline */

/** @param {Timeline} timeline @param {Field} field @param {number} index @param {number} t where to split @param {HTMLElement} anchor */
export function openSegmentMenu(timeline, field, index, t, anchor) {
  const schedule = timeline.schedules[field];
  if (!schedule) return;
  /** @param {string} action @param {string} text @param {() => Schedule} next @param {string} [value] @returns {MenuItem} */
  const item = (action, text, next, value = "") => ({ action, value, text, run: () => timeline.edit(field, next(), true) });
  const choices = field === "patch" ? timeline.patches : [field === "guidance" ? 0 : null];
  const items = choices.map((value) => {
    const text = value === 0 ? word("set_off") : valueText(value);
    return item("set", text, () => setValue(schedule, index, value), valueText(value));
  });
  if (field !== "patch") {
    const run = () => typeValue(timeline, field, index, schedule, anchor);
    items.push({ action: "type", value: "", text: word("type_value"), run });
  }
  items.push(item("split", word("split"), () => split(schedule, index, t)));
  if (schedule.values.length > 1) items.push(item("delete", word("delete"), () => remove(schedule, index)));
  openMenu(anchor, word(field), items);
}

/** @param {Timeline} timeline @param {Field} field @param {number} index @param {Schedule} schedule @param {HTMLElement} anchor */
function typeValue(timeline, field, index, schedule, anchor) {
  openEntry(anchor, word(field), valueText(schedule.values[index]), (text) => {
    timeline.editText(field, format(setValue(schedule, index, text.trim())));
  });
}

/** @param {Timeline} timeline @param {Field} field @param {number} index of the boundary @param {HTMLElement} anchor */
export function openTimeEntry(timeline, field, index, anchor) {
  const schedule = timeline.schedules[field];
  if (!schedule) return;
  openEntry(anchor, word("t_label"), numberText(schedule.thresholds[index]), (text) => {
    if (Number(text)) timeline.editText(field, format(setThreshold(schedule, index, Number(text))));
  });
}

// What the menu of a segment offers, and the field for a boundary's time.

import { openEntry, openMenu } from "./menu.js";
import { format, numberText, remove, setThreshold, setValue, split, valueText } from "./segments.js";
import { word } from "./words.js";

/** @type {T.openSegmentMenu} */
export function openSegmentMenu({ field, schedule, timeline }, index, t, anchor) {
  /** @type {T.item} */
  const item = (action, text, next, value = "") => {
    return { text, run: () => timeline.edit(field, next(), true), data: { action, value } };
  };
  const choices = field === "patch" ? timeline.patches : [field === "guidance" ? 0 : null];
  const items = choices.map((value) => {
    const text = valueText(value);
    return item("set", value === 0 ? word("set_off") : text, () => setValue(schedule, index, value), text);
  });
  if (field !== "patch") items.push({ text: word("type_value"), run: typeValue, data: { action: "type", value: "" } });
  items.push(item("split", word("split"), () => split(schedule, index, t)));
  if (schedule.thresholds.length) items.push(item("delete", word("delete"), () => remove(schedule, index)));
  openMenu(anchor, word(field), items);

  function typeValue() {
    openEntry(anchor, word(field), valueText(schedule.values[index]), (text) => {
      timeline.editText(field, format(setValue(schedule, index, text.trim())));
    });
  }
}

/** @type {T.openTimeEntry} */
export function openTimeEntry({ field, schedule, timeline }, index, anchor) {
  openEntry(anchor, word("t_label"), numberText(schedule.thresholds[index]), (text) => {
    const t = Number(text);
    if (text.trim() && !Number.isNaN(t)) timeline.editText(field, format(setThreshold(schedule, index, t)));
  });
}

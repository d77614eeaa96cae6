// The menu of a segment, and a field to type in: popovers that give the focus back.

import { address, arrow, element, take, word } from "./page.js";
import { format, numberText, remove, setThreshold, setValue, split, valueText } from "./segments.js";

/** @type {T.openSegmentMenu} */
export function openSegmentMenu({ field, schedule, timeline }, index, t, anchor) {
	/** @type {T.item} */
	const item = (action, text, run, value = "") => {
		const button = element("button", "lumina-item", { type: "button", role: "menuitem", dataset: { action, value } }, text);
		button.onclick = () => {
			menu.hidePopover();
			run();
		};
		return button;
	};
	const edit = (/** @type {Schedule} */ next) => timeline.edit(field, next, true);
	const choices = field === "patch" ? timeline.patches : [field === "guidance" ? 0 : null];
	const items = choices.map((value) => {
		const text = valueText(value);
		return item("set", value === 0 ? word("set_off") : text, () => edit(setValue(schedule, index, value)), text);
	});
	if (field !== "patch") items.push(item("type", word("type_value"), () => {
		openEntry(anchor, word(field), valueText(schedule.values[index]), (text) => {
			timeline.editText(field, format(setValue(schedule, index, text.trim())));
		});
	}));
	items.push(item("split", word("split"), () => edit(split(schedule, index, t))));
	if (schedule.thresholds.length) items.push(item("delete", word("delete"), () => edit(remove(schedule, index))));
	const menu = element("div", "lumina-menu", { role: "menu", ariaLabel: word(field) }, ...items);
	float(menu, anchor, (event) => {
		const way = arrow(event);
		if (!way) return;
		take(event);
		const at = items.findIndex((button) => button === document.activeElement);
		items.at((at - way) % items.length)?.focus();
	});
	items[0].focus();
}

/** @type {T.openTimeEntry} */
export function openTimeEntry({ field, schedule, timeline }, index, anchor) {
	openEntry(anchor, word("t_label"), numberText(schedule.thresholds[index]), (text) => {
		const t = Number(text);
		if (text.trim() && !Number.isNaN(t)) timeline.editText(field, format(setThreshold(schedule, index, t)));
	});
}

/** @type {T.openEntry} */
function openEntry(anchor, label, value, enter) {
	const input = element("input", "", { value, spellcheck: false });
	const box = element("label", "lumina-entry", {}, label, input);
	float(box, anchor, ({ key }) => {
		if (key !== "Enter") return;
		box.hidePopover();
		enter(input.value);
	});
	input.select();
}

/** @type {T.float} */
function float(popup, anchor, onKey) {
	const home = anchor.closest(".lumina-timeline");
	popup.popover = "auto";
	popup.ontoggle = ({ newState }) => {
		if (newState !== "closed") return;
		popup.remove();
		// The browser gives the focus back, unless the anchor was redrawn in the meantime.
		if (document.activeElement === document.body) address(home, anchor)?.focus({ preventScroll: true });
	};
	popup.onkeydown = (event) => {
		// Nothing typed here is a command to the host.
		event.stopPropagation();
		onKey(event);
	};
	document.body.append(popup);
	popup.showPopover();
	const { left, bottom } = anchor.getBoundingClientRect();
	const { width, height } = popup.getBoundingClientRect();
	popup.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
	popup.style.top = `${Math.min(bottom + 4, innerHeight - height - 4)}px`;
}

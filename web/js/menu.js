// The menu of a segment, and an entry field: popovers that return the focus.

import { address, arrow, consume, element, i18n } from "./page.js";
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
		return item("set", value === 0 ? i18n("set_off") : text, () => edit(setValue(schedule, index, value)), text);
	});
	if (field !== "patch") items.push(item("type", i18n("type_value"), () => {
		openEntry(anchor, i18n(field), valueText(schedule.values[index]), (text) => {
			timeline.editText(field, format(setValue(schedule, index, text.trim())));
		});
	}));
	items.push(item("split", i18n("split"), () => edit(split(schedule, index, t))));
	if (schedule.thresholds.length) items.push(item("delete", i18n("delete"), () => edit(remove(schedule, index))));
	const menu = element("div", "lumina-menu", { role: "menu", ariaLabel: i18n(field) }, ...items);
	float(menu, anchor, (event) => {
		const sign = arrow(event);
		if (!sign) return;
		consume(event);
		const at = items.findIndex((button) => button === document.activeElement);
		items.at((at - sign) % items.length)?.focus();
	});
	items[0].focus();
}

/** @type {T.openTimeEntry} */
export function openTimeEntry({ field, schedule, timeline }, index, anchor) {
	openEntry(anchor, i18n("t_label"), numberText(schedule.thresholds[index]), (text) => {
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
		// The browser returns the focus, unless the anchor was redrawn.
		if (document.activeElement === document.body) address(home, anchor)?.focus({ preventScroll: true });
	};
	popup.onkeydown = (event) => {
		// No shortcuts of the host.
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

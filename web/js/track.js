// One schedule over t: segments as buttons, boundaries as sliders.

import { beforeStep, stepAt, toShare, toTime } from "./axis.js";
import { arrow, consume, element, makeDraggable, shareAt, i18n } from "./page.js";
import { openSegmentMenu, openTimeEntry } from "./menu.js";
import { moveBoundary, remove, setThreshold, setValue, span, valueText } from "./segments.js";

export class Track {
	schedule = /** @type {Schedule} */ ({ values: [], thresholds: [] });
	dragged = false;

	/** @param {Field} field @param {Timeline} timeline */
	constructor(field, timeline) {
		this.field = field;
		this.timeline = timeline;
		this.element = element("div", "lumina-track", { dataset: { field } });
	}

	/** @type {T.trackShow} */
	show(schedule, readOnly, top) {
		this.schedule = schedule;
		const segments = schedule.values.map((value, index) => this.segment(value, index, readOnly, top));
		const handles = readOnly ? [] : schedule.thresholds.map((_, index) => this.handle(index));
		this.element.replaceChildren(...segments, ...handles);
		this.place();
	}

	place() {
		const { schedule, timeline: { grid, axis }, field } = this;
		const share = (/** @type {number} */ t) => 100 * toShare(t, axis);
		const parts = /** @type {HTMLElement[]} */ ([...this.element.children]);
		schedule.values.forEach((value, index) => {
			const [start, end] = span(schedule, index);
			const steps = { first: stepAt(grid, start), last: stepAt(grid, end) - 1 };
			const title = i18n("segment", { field: i18n(field), value: valueText(value), start, end, ...steps });
			const style = `left: ${share(start)}%; width: ${share(end) - share(start)}%`;
			Object.assign(parts[index], { title, ariaLabel: title, style });
		});
		parts.slice(schedule.values.length).forEach((handle, index) => {
			const t = schedule.thresholds[index];
			const ariaValueText = i18n("boundary_at", { t, step: stepAt(grid, t) });
			Object.assign(handle, { style: `left: ${share(t)}%`, ariaValueNow: t, ariaValueText });
		});
	}

	/** @type {T.segment} */
	segment(value, index, disabled, top) {
		const { field, timeline } = this;
		const text = element("span", "lumina-value", {}, valueText(value));
		const button = element("button", "lumina-segment", { type: "button", disabled, dataset: { field, index } }, text);
		if (field === "patch") button.dataset.rank = `${timeline.rank(value)}`;
		else if (value !== null) button.prepend(element("i", "lumina-level", { style: `height: ${(100 * Number(value)) / top}%` }));
		if (disabled) return button;
		button.ariaHasPopup = "menu";
		button.onclick = (event) => {
			const [start, end] = span(this.schedule, index).map((t) => toShare(t, timeline.axis));
			// A keyboard click has no position.
			const share = event.detail ? shareAt(this.element, event) : (start + end) / 2;
			openSegmentMenu(this, index, toTime(share, timeline.axis), button);
		};
		button.onkeydown = (event) => {
			const up = /Up|Down/.test(event.key) && arrow(event);
			if (up) this.change(event, setValue(this.schedule, index, this.next(value, up)));
			else if (isDelete(event)) this.change(event, remove(this.schedule, index));
		};
		return button;
	}

	/** @type {T.next} */
	next(value, up) {
		const { patches } = this.timeline;
		// From fine to coarse; up is finer.
		if (this.field === "patch") return patches[patches.indexOf(String(value)) - up] ?? value;
		return Math.max(0, Number(value) + 0.5 * up);
	}

	/** @type {T.handle} */
	handle(index) {
		const { field, timeline } = this;
		const [before, after] = this.schedule.values.slice(index).map(valueText);
		const ariaLabel = i18n("boundary", { field: i18n(field), before, after });
		const range = { role: "slider", tabIndex: 0, ariaValueMin: 0, ariaValueMax: 1 };
		const handle = element("div", "lumina-handle", { ...range, ariaLabel, dataset: { field, index } });
		const move = (/** @type {number} */ share) => {
			const next = moveBoundary(this.schedule, index, toTime(share, timeline.axis));
			if (next.thresholds[index] === this.schedule.thresholds[index]) return;
			this.dragged = true;
			this.schedule = next;
			this.place();
			timeline.edit(field, next, false);
		};
		makeDraggable(handle, this.element, move, () => {
			if (!this.dragged) return;
			this.dragged = false;
			timeline.edit(field, this.schedule, true);
		});
		handle.ondblclick = () => openTimeEntry(this, index, handle);
		handle.onkeydown = (event) => {
			const { schedule } = this;
			const sign = arrow(event);
			const t = schedule.thresholds[index];
			if (sign) this.change(event, event.shiftKey ? moveBoundary(schedule, index, t + sign / 1000) : this.stepped(index, sign));
			else if (isDelete(event)) this.change(event, remove(schedule, index + 1));
			else if (event.key === "Enter") {
				consume(event);
				openTimeEntry(this, index, handle);
			}
		};
		return handle;
	}

	/** @type {T.stepped} */
	stepped(index, sign) {
		const { schedule, timeline: { grid } } = this;
		const { thresholds } = schedule;
		const t = beforeStep(grid, stepAt(grid, thresholds[index]) + sign);
		const free = t > (thresholds[index - 1] ?? 0) && t < (thresholds[index + 1] ?? 1);
		return free ? setThreshold(schedule, index, t) : schedule;
	}

	/** @type {T.change} */
	change(event, next) {
		consume(event);
		if (next !== this.schedule) this.timeline.edit(this.field, next, true);
	}
}

/** @type {T.isDelete} */
const isDelete = ({ key }) => /^(Delete|Backspace)$/.test(key);

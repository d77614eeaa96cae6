// The timeline of one node: bands over t, in sync with its text fields.

import { app } from "/scripts/app.js";
import { ticks, toShare } from "./axis.js";
import { CostStrip } from "./cost_strip.js";
import { address, ask, element, i18n } from "./page.js";
import { BANDS, gather, kind, PRESET, remember, TIMELINES, widgetOf } from "./graph_context.js";
import { Report } from "./report.js";
import { format } from "./segments.js";
import { axisKind } from "./settings.js";
import { Track } from "./track.js";

export class Timeline {
	report = new Report();
	axisRow = element("div", "lumina-axis", { ariaHidden: true });
	/** The last valid schedule of each field. @type {Partial<Record<Field, Schedule>>} */
	schedules = {};
	/** Texts of linked fields in the last run. @type {Record<string, string>} */
	linked = {};
	answer = /** @type {Answer | null} */ (null);
	asked = "";
	waiting = /** @type {Question | null} */ (null);
	busy = false;
	writing = false;

	/** @param {GraphNode} node */
	constructor(node) {
		this.node = node;
		this.fields = TIMELINES[kind(node)];
		this.readOnly = kind(node) === PRESET;
		this.withBudget = !this.readOnly && this.fields.includes("patch");
		this.context = gather(node);
		this.tracks = this.fields.map((field) => new Track(field, this));
		this.strip = this.fields === BANDS.motion ? null : new CostStrip(this);
		this.bands = Object.keys(BANDS).filter((band) => this.fields.includes(BANDS[band][0])).map((band) => {
			const name = element("div", "lumina-band-name", {}, i18n(band), element("small", "", {}, i18n(`${band}_hint`)));
			const tracks = this.tracks.filter((track) => BANDS[band].includes(track.field)).map((track) => track.element);
			if (band === "motion") tracks.forEach(({ dataset }, index) => (dataset.name = i18n(index ? "negative" : "positive")));
			return element("div", "lumina-band", { dataset: { band } }, name, ...tracks);
		});
		const style = `height: ${this.height - 20}px`;
		const label = { role: "group", ariaLabel: i18n("timeline"), dataset: { state: "loading", revision: 0 }, style };
		this.element = element("div", "lumina-timeline", label, ...this.bands, this.axisRow, this.strip?.element ?? "", this.report.element);
		this.stop();
		// The wheel zooms the canvas.
		this.element.addEventListener("wheel", (event) => app.canvas.processMouseWheel(event), { passive: false });
	}

	get axis() {
		return axisKind();
	}

	get grid() {
		return this.answer?.outline?.grid ?? [0, 1];
	}

	get patches() {
		return this.answer?.patches ?? [];
	}

	get dragging() {
		return this.tracks.some((track) => track.dragged);
	}

	/** Fixed, with margins: a change of size would be a step of undo. */
	get height() {
		return 17 * this.bands.length + 27 * this.tracks.length + (this.strip ? 90 : 0) + (this.withBudget ? 20 : 0) + 80;
	}

	/** The current request; a null field is the preset's. @returns {Question} */
	get question() {
		const { links, nodes } = this.context;
		const text = (/** @type {Field} */ field) => {
			const from = links[field];
			if (from === undefined) return widgetOf(this.node, field)?.value;
			// The server knows presets by name; other links are known after a run.
			return isPreset(from) ? null : this.linked[field];
		};
		return { nodes, fields: Object.fromEntries(this.fields.map((field) => [field, text(field) ?? null])) };
	}

	/** @type {T.rank} */
	rank(patch) {
		return Math.max(0, this.patches.indexOf(String(patch)));
	}

	/** Ask the server if the request has changed, or with `force`. */
	refresh(force = false) {
		this.context = gather(this.node);
		this.mount();
		const key = JSON.stringify([this.question, Object.values(this.context.links).map((from) => from?.id), this.axis]);
		if ((key === this.asked && !force) || this.dragging) return;
		this.ask(this.question);
		this.asked = key;
	}

	/** Nodes 2.0 keeps the old element of a node that undo has recreated. */
	mount() {
		const { dataset, isConnected } = this.element;
		dataset.node = `${this.node.id}`;
		if (!isConnected) document.querySelector(`[data-removed][data-node="${dataset.node}"]`)?.replaceWith(this.element);
	}

	/** @type {T.edit} */
	edit(field, schedule, done) {
		this.schedules[field] = schedule;
		const { fields, nodes } = this.question;
		const text = format(schedule);
		this.ask({ nodes, fields: { ...fields, [field]: text } });
		this.asked = "";
		// A drag writes the text with each answer: that may redraw the node.
		if (!done) return;
		this.write(field, text);
		this.draw();
		remember();
	}

	/** @type {T.editText} */
	editText(field, text) {
		this.write(field, text);
		this.refresh();
		remember();
	}

	/** @type {T.askPlan} */
	async ask(question) {
		this.waiting = question;
		if (this.busy) return;
		this.busy = true;
		while (this.waiting) {
			const asked = this.waiting;
			this.waiting = null;
			this.take(await ask("plan", asked), asked);
		}
		this.busy = false;
	}

	/** @type {T.write} */
	write(field, text) {
		const widget = widgetOf(this.node, field);
		if (!widget || widget.value === text) return;
		this.writing = true;
		widget.value = text;
		widget.callback?.(text);
		this.writing = false;
		app.canvas.setDirty(true);
	}

	/** @type {T.timelineTake} */
	take(answer, { budget, done }) {
		if (!this.node.graph) return;
		if (!answer) {
			this.asked = "";
			this.element.dataset.state = "offline";
			return this.report.showError(i18n("offline"));
		}
		const { outline, schedules, estimate } = answer;
		for (const { dragged, field, schedule } of this.tracks) if (dragged) this.write(field, format(schedule));
		const overtaken = budget === undefined && (this.dragging || this.waiting);
		if (!overtaken) {
			if (done && outline) this.write("patch", schedules.patch.text);
			this.answer = { ...answer, outline: outline ?? this.answer?.outline ?? null };
			for (const field of this.fields) if (!schedules[field].error) this.schedules[field] = schedules[field];
			this.draw();
			if (done) remember();
		}
		if (this.strip && done !== false && !this.waiting) this.strip.asked = 0;
		if (outline) this.strip?.show(outline, estimate);
	}

	draw() {
		const { answer, axis } = this;
		if (!answer) return;
		this.mount();
		const focused = document.activeElement;
		const hadFocus = this.element.contains(focused);
		const { links } = this.context;
		for (const track of this.tracks) {
			const { field } = track;
			const schedule = this.schedules[field];
			const from = links[field];
			const unknown = from !== undefined && !isPreset(from) && !(field in this.linked);
			if (unknown) track.element.replaceChildren(element("i", "", {}, i18n("linked")));
			else if (schedule) track.show(schedule, this.readOnly || from !== undefined, this.top(field));
			track.element.classList.toggle("lumina-of-preset", !this.readOnly && !answer.schedules[field].own);
		}
		this.axisRow.replaceChildren(...marks("time", ticks(axis)), ...marks("step", ticks(axis, this.grid)));
		const fault = this.fields.map((field) => answer.schedules[field]).find((schedule) => schedule.error);
		const sentence = fault?.error ?? answer.error ?? "";
		const linked = this.fields.every((field) => links[field] !== undefined);
		this.report.showError(sentence, fault);
		if (this.strip) this.strip.handle.hidden = links.patch !== undefined;
		const { dataset } = this.element;
		dataset.state = sentence ? "error" : linked ? "linked" : "ok";
		dataset.revision = `${Number(dataset.revision) + 1}`;
		if (hadFocus) address(this.element, /** @type {HTMLElement} */ (focused))?.focus({ preventScroll: true });
	}

	/** @type {T.top} */
	top(field) {
		const together = Object.values(BANDS).find((fields) => fields.includes(field)) ?? [];
		return Math.max(1, ...together.flatMap((name) => this.schedules[name]?.values ?? []).map((value) => Number(value) || 0));
	}

	/** @type {T.showProgress} */
	showProgress({ t, text }) {
		this.report.status.textContent = text;
		this.element.style.setProperty("--now", `${toShare(t, this.axis)}`);
		this.element.classList.add("lumina-running");
	}

	/** @type {T.timelineShowResult} */
	showResult(run) {
		this.stop();
		this.report.showResult(run);
		// The estimate can use this run.
		this.refresh(true);
	}

	stop() {
		this.element.classList.remove("lumina-running");
		this.report.status.textContent = this.readOnly ? i18n("read_only") : "";
	}

	/** @type {T.timelineShowMotion} */
	showMotion(score) {
		this.report.showMotion(score, this.answer?.schedules.motion.text ?? "");
	}

	/** @type {T.showLinked} */
	showLinked(texts) {
		this.linked = texts;
		this.refresh(true);
	}
}

/** @type {T.isPreset} */
const isPreset = (from) => from !== null && kind(from) === PRESET;

/** @type {T.marks} */
function marks(row, ticks) {
	return ticks.map(({ text, share }) => {
		const style = `left: ${100 * share}%; transform: translateX(${-100 * share}%)`;
		return element("span", `lumina-tick lumina-${row}`, { style }, share ? text : `${i18n(row)} ${text}`);
	});
}

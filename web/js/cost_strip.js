// The cost of the plan by segment, and the slider for a cheaper plan.

import { arrow, consume, count, element, makeDraggable, rough, i18n } from "./page.js";

export class CostStrip {
	bar = element("div", "lumina-cost-bar");
	legend = element("div", "lumina-legend");
	text = element("div", "lumina-cost-text");
	factor = element("span", "");
	/** Costs relative to 1x2 throughout; `asked` is 0 unless a request is open. */
	relative = 1;
	least = 1;
	asked = 0;

	/** @param {Timeline} timeline */
	constructor(timeline) {
		this.timeline = timeline;
		const range = { role: "slider", tabIndex: 0, ariaLabel: i18n("budget"), ariaValueMin: 1 };
		this.handle = element("div", "lumina-budget", range);
		const track = element("div", "lumina-budget-track", {}, this.handle);
		makeDraggable(this.handle, track, (share) => this.ask(this.least ** share, false), () => {
			if (this.asked) this.ask(this.asked, true);
		});
		this.handle.onkeydown = (event) => {
			const sign = arrow(event);
			if (!sign) return;
			consume(event);
			this.ask((this.asked || this.relative) / 1.1 ** sign, true);
		};
		this.element = element("div", "lumina-cost", {}, this.bar, this.legend, this.text);
		if (timeline.withBudget) this.element.append(element("div", "lumina-budget-row", {}, i18n("budget"), track, this.factor));
	}

	/** @type {T.show} */
	show({ segments, nfe, passes, flops, relative, least, memory }, estimate) {
		this.bar.replaceChildren();
		this.legend.replaceChildren();
		segments.forEach(({ patch, guided, share, tokens, first_step: first, last_step: last }, index) => {
			const dataset = { index, rank: this.timeline.rank(patch) };
			const values = { patch, first, last, share: rough(100 * share), guided: guided ? " ×2" : "", tokens: count(tokens) };
			const title = i18n("part", values);
			const style = `flex-grow: ${share}`;
			this.bar.append(element("div", `lumina-cost-part${guided ? " lumina-guided" : ""}`, { dataset, title, style }));
			this.legend.append(element("span", "lumina-legend-part", { dataset }, title));
		});
		const cost = i18n("cost", { share: rough(100 * relative), flops: `${rough(flops / 1e12)} TFLOP`, nfe, passes });
		const time = estimate ? i18n("estimate", { ...estimate, seconds: rough(estimate.seconds) }) : i18n("no_estimate");
		const { held, room, fits, advice } = memory;
		const text = i18n("memory", { held: rough(held), room: rough(room) });
		const span = element("span", fits === "no" ? "lumina-warning" : "", { title: advice ?? i18n("memory_hint") }, text);
		this.text.replaceChildren(`${cost} · `, span, element("br", ""), time);
		const factor = rough(1 / relative);
		// Logarithmic, because users choose a factor.
		this.handle.style.left = `${least < 1 ? 100 * Math.min(1, Math.log(relative) / Math.log(least)) : 0}%`;
		this.handle.ariaValueNow = factor;
		this.handle.ariaValueMax = rough(1 / least);
		this.factor.textContent = this.handle.ariaValueText = i18n("budget_value", { factor });
		Object.assign(this, { relative, least });
	}

	/** @type {T.ask} */
	ask(budget, done) {
		this.asked = Math.min(1, Math.max(Math.ceil(this.least * 1e4) / 1e4, Number(budget.toPrecision(4))));
		this.timeline.ask({ ...this.timeline.question, budget: this.asked, done });
	}
}

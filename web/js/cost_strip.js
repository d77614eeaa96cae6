// What the plan costs, part by part, and the handle that asks for a cheaper one.

import { arrow, element, makeDraggable, take } from "./dom.js";
import { count, rough, word } from "./words.js";

const UNITS = ["GFLOP", "TFLOP", "PFLOP", "EFLOP"];

/** @type {T.flopsText} */
function flopsText(flops) {
  const unit = Math.min(3, Math.max(0, Math.floor(Math.log10(flops) / 3) - 3));
  return `${rough(flops / 10 ** (9 + 3 * unit))} ${UNITS[unit]}`;
}

export class CostStrip {
  bar = element("div", "lumina-cost-bar");
  legend = element("div", "lumina-legend");
  text = element("div", "lumina-cost-text");
  factor = element("span", "");
  /** Shares of 1x2 throughout: of this plan, of the coarsest, and as asked. */
  relative = 1;
  least = 1;
  asked = 0;

  /** @param {Timeline} timeline */
  constructor(timeline) {
    this.timeline = timeline;
    const range = { role: "slider", tabIndex: 0, ariaLabel: word("budget"), ariaValueMin: 1 };
    this.handle = element("div", "lumina-budget", range);
    const track = element("div", "lumina-budget-track", {}, this.handle);
    makeDraggable(this.handle, track, (share) => this.ask(this.least ** share, false), () => {
      if (this.asked) timeline.askBudget(this.asked, true);
      this.asked = 0;
    });
    this.handle.onkeydown = (event) => {
      const way = arrow(event);
      if (!way) return;
      take(event);
      this.ask(this.relative / 1.1 ** way, true);
    };
    this.element = element("div", "lumina-cost", {}, this.bar, this.legend, this.text);
    const row = element("div", "lumina-budget-row", {}, word("budget"), track, this.factor);
    if (timeline.withBudget) this.element.append(row);
  }

  /** @type {T.show} */
  show({ segments, nfe, passes, flops, relative, least }, estimate) {
    const parts = segments.map((segment, index) => this.part(segment, index));
    this.bar.replaceChildren(...parts.map(([part]) => part));
    this.legend.replaceChildren(...parts.map(([, line]) => line));
    const cost = word("cost", { share: rough(100 * relative), flops: flopsText(flops), nfe, passes });
    const time = estimate ? word("estimate", { ...estimate, seconds: rough(estimate.seconds) }) : word("no_estimate");
    this.text.innerText = `${cost}\n${time}`;
    const factor = rough(1 / relative);
    // A logarithm, for what is wanted is a factor.
    this.handle.style.left = `${least < 1 ? 100 * Math.min(1, Math.log(relative) / Math.log(least)) : 0}%`;
    this.handle.ariaValueNow = factor;
    this.handle.ariaValueMax = rough(1 / least);
    this.factor.textContent = this.handle.ariaValueText = word("budget_value", { factor });
    Object.assign(this, { relative, least });
  }

  /** @type {T.part} */
  part({ patch, guided, share, tokens, first_step: first, last_step: last }, index) {
    const dataset = { index, rank: this.timeline.rank(patch) };
    const values = { patch, first, last, share: rough(100 * share), guided: guided ? " ×2" : "" };
    const title = word("part", { ...values, tokens: count(tokens) });
    const part = element("div", `lumina-cost-part${guided ? " lumina-guided" : ""}`, { dataset, title });
    part.style.flexGrow = String(share);
    return [part, element("span", "lumina-legend-part", { dataset, title }, title)];
  }

  /** @type {T.ask} */
  ask(budget, done) {
    this.asked = Math.min(1, Math.max(Math.ceil(this.least * 1e4) / 1e4, Number(budget.toPrecision(4))));
    this.timeline.askBudget(this.asked, done);
  }
}

// What the plan costs, part by part, and the handle that asks for a cheaper one.

import { arrow, element, makeDraggable, take } from "./dom.js";
import { count, rough, word } from "./words.js";

const UNITS = ["GFLOP", "TFLOP", "PFLOP", "EFLOP"];

/** @param {number} flops */
function flopsText(flops) {
  const unit = Math.min(3, Math.max(0, Math.floor(Math.log10(flops) / 3) - 3));
  return `${rough(flops / 10 ** (9 + 3 * unit))} ${UNITS[unit]}`;
}

export class CostStrip {
  /** @param {import("./timeline.js").Timeline} timeline @param {boolean} withBudget */
  constructor(timeline, withBudget) {
    this.timeline = timeline;
    this.element = element("div", "lumina-cost");
    this.bar = element("div", "lumina-cost-bar");
    this.legend = element("div", "lumina-legend");
    this.text = element("div", "lumina-cost-text");
    this.element.append(this.bar, this.legend, this.text);
    /** Shares of 1x2 throughout: of this plan, of the coarsest, and as asked. */
    this.relative = this.least = this.asked = 1;
    if (withBudget) this.element.append(this.budgetRow());
  }

  /** @param {Outline} outline @param {Estimate | null} [estimate] */
  show(outline, estimate) {
    const { segments, nfe, passes, flops, relative, least } = outline;
    this.bar.replaceChildren(...segments.map((segment, index) => this.part(segment, index)));
    this.legend.replaceChildren(...segments.map((segment) => this.line(segment)));
    const cost = word("cost", { share: rough(100 * relative), flops: flopsText(flops), nfe, passes });
    const { seconds, runs } = estimate ?? { seconds: 0, runs: 0 };
    const time = runs ? word("estimate", { seconds: rough(seconds), runs }) : word("no_estimate");
    this.text.innerText = `${cost}\n${time}`;
    Object.assign(this, { relative, least });
    if (this.handle) this.placeBudget(this.handle);
  }

  /** @param {Segment} segment @param {number} index */
  part({ patch, guided, share, tokens, first_step: first, last_step: last }, index) {
    const title = word("part_title", { patch, first, last, tokens: count(tokens), share: rough(100 * share) });
    const part = element("div", "lumina-cost-part", { "data-index": index, "data-rank": this.timeline.rank(patch) });
    part.title = guided ? `${title}, ${word("guided")}` : title;
    part.style.flexGrow = String(share);
    part.classList.toggle("lumina-guided", guided);
    return part;
  }

  /** @param {Segment} segment */
  line({ patch, guided, share, tokens }) {
    const text = word("part", { patch, guided: guided ? " ×2" : "", share: rough(100 * share), tokens: count(tokens, true) });
    return element("span", "lumina-legend-part", { "data-rank": this.timeline.rank(patch) }, text);
  }

  budgetRow() {
    const row = element("div", "lumina-budget-row", {}, word("budget"));
    const track = element("div", "lumina-budget-track");
    const handle = element("div", "lumina-budget", { role: "slider", tabindex: 0, "aria-label": word("budget"), "aria-valuemin": 1 });
    this.handle = handle;
    this.factor = element("span", "");
    track.append(handle);
    row.append(track, this.factor);
    const end = () => this.asked < 1 && this.timeline.askBudget(this.asked, true);
    makeDraggable(handle, track, (share) => this.ask(this.least ** share, false), end);
    handle.onkeydown = (event) => {
      const way = arrow(event);
      if (!way) return;
      take(event);
      this.ask(this.relative / 1.1 ** way, true);
    };
    return row;
  }

  /** Four digits, not below what the coarsest patch size costs. @param {number} budget @param {boolean} done */
  ask(budget, done) {
    this.asked = Math.min(1, Math.max(Math.ceil(this.least * 1e4) / 1e4, Number(budget.toPrecision(4))));
    this.timeline.askBudget(this.asked, done);
  }

  /** @param {HTMLElement} handle */
  placeBudget(handle) {
    const factor = rough(1 / this.relative);
    // A logarithm, for what is wanted is a factor. Where one patch size is all there is, there is nothing to choose.
    handle.style.left = `${this.least < 1 ? 100 * Math.min(1, Math.log(this.relative) / Math.log(this.least)) : 0}%`;
    handle.ariaValueNow = factor;
    handle.ariaValueMax = rough(1 / this.least);
    handle.ariaValueText = word("budget_value", { factor });
    if (this.factor) this.factor.textContent = handle.ariaValueText;
  }
}

// What the plan costs, part by part, and the handle that asks for a cheaper one.

import { element } from "./dom.js";
import { count, rough, word } from "./words.js";

/** @typedef {import("./plan_service.js").Outline} Outline */

const PREFIXES = [["EFLOP", 1e18], ["PFLOP", 1e15], ["TFLOP", 1e12], ["GFLOP", 1e9]];

/** @param {number} flops */
function flopsText(flops) {
  const [name, size] = /** @type {[string, number]} */ (PREFIXES.find(([, least]) => flops >= Number(least)) ?? PREFIXES.at(-1));
  return `${rough(flops / size)} ${name}`;
}

/** @param {number} share */
function percent(share) {
  return rough(100 * share);
}

export class CostStrip {
  /** @param {((budget: number, done: boolean) => void) | null} onBudget called with a share of 1x2 throughout */
  constructor(onBudget) {
    this.element = element("div", "lumina-cost");
    this.bar = element("div", "lumina-cost-bar");
    this.legend = element("div", "lumina-legend");
    this.text = element("div", "lumina-cost-text");
    this.element.append(this.bar, this.legend, this.text);
    this.onBudget = onBudget;
    this.least = 1;
    if (onBudget) this.element.append(this.#budgetRow());
  }

  /** @param {Outline} outline @param {string[]} patches @param {import("./plan_service.js").Estimate | null | undefined} estimate */
  show(outline, patches, estimate) {
    const parts = outline.segments.map((segment, index) => {
      const tokens = count(segment.tokens);
      const share = percent(segment.share);
      const words = { patch: segment.patch, tokens, share, first: segment.first_step, last: segment.last_step };
      const title = word("part_title", words) + (segment.guided ? `, ${word("guided")}` : "");
      const rank = Math.max(0, patches.indexOf(segment.patch));
      const part = element("div", "lumina-cost-part", { "data-index": index, "data-rank": rank, title });
      part.style.flexGrow = String(segment.share);
      part.classList.toggle("lumina-guided", segment.guided);
      const dense = { ...words, tokens: count(segment.tokens, true), guided: segment.guided ? " ×2" : "" };
      const line = element("span", "lumina-legend-part", { "data-rank": rank, title }, word("part", dense));
      return { part, line };
    });
    this.bar.replaceChildren(...parts.map(({ part }) => part));
    this.legend.replaceChildren(...parts.map(({ line }) => line));
    const { nfe, passes } = outline;
    const cost = word("cost", { share: percent(outline.relative), flops: flopsText(outline.flops), nfe, passes });
    this.text.replaceChildren(element("div", "", {}, cost), element("div", "lumina-estimate", {}, estimateText(estimate)));
    this.#placeBudget(outline);
  }

  #budgetRow() {
    const row = element("div", "lumina-budget-row");
    this.track = element("div", "lumina-budget-track");
    this.handle = element("div", "lumina-budget", { role: "slider", tabindex: 0, "aria-label": word("budget"), "aria-valuemin": 1 });
    this.factor = element("span", "lumina-budget-text");
    this.track.append(this.handle);
    row.append(element("span", "", {}, word("budget")), this.track, this.factor);
    this.handle.addEventListener("pointerdown", (event) => this.#grab(event));
    this.handle.addEventListener("keydown", (event) => this.#key(event));
    return row;
  }

  /** @param {Outline & {least?: number}} outline */
  #placeBudget({ relative, least = relative }) {
    if (!this.handle || !this.factor) return;
    this.least = least;
    this.now = relative;
    const factor = rough(1 / relative);
    this.handle.style.left = `${100 * Math.min(1, Math.log(relative) / Math.log(Math.min(least, 0.99)))}%`;
    this.handle.setAttribute("aria-valuenow", factor);
    this.handle.setAttribute("aria-valuemax", rough(1 / least));
    this.handle.setAttribute("aria-valuetext", word("budget_value", { factor }));
    this.factor.textContent = word("budget_value", { factor });
  }

  /** The share of 1x2 that a place on the track stands for. @param {number} x of the pointer */
  #budgetAt(x) {
    const box = /** @type {HTMLElement} */ (this.track).getBoundingClientRect();
    return this.#inside(this.least ** ((x - box.left) / box.width));
  }

  /** Four digits, not below what the coarsest patch size costs. @param {number} budget */
  #inside(budget) {
    return Math.min(1, Math.max(Math.ceil(this.least * 1e4) / 1e4, Number(budget.toPrecision(4))));
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    const { handle, onBudget } = this;
    if (event.button !== 0 || !handle || !onBudget) return;
    event.preventDefault();
    event.stopPropagation();
    handle.focus();
    handle.setPointerCapture(event.pointerId);
    let budget = 0;
    const move = (/** @type {PointerEvent} */ at) => onBudget((budget = this.#budgetAt(at.clientX)), false);
    const end = () => {
      handle.removeEventListener("pointermove", move);
      handle.removeEventListener("lostpointercapture", end);
      if (budget) onBudget(budget, true);
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", end);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const factor = { ArrowRight: 1.1, ArrowUp: 1.1, ArrowLeft: 1 / 1.1, ArrowDown: 1 / 1.1 }[event.key];
    if (!factor || !this.now) return;
    event.preventDefault();
    event.stopPropagation();
    this.onBudget?.(this.#inside(this.now / factor), true);
  }
}

/** @param {import("./plan_service.js").Estimate | null | undefined} estimate */
function estimateText(estimate) {
  if (!estimate) return word("no_estimate");
  return word("estimate", { seconds: rough(estimate.seconds), runs: estimate.runs });
}

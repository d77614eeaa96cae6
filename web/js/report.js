// The lines under a timeline: what is wrong, what runs, what the last run took.

import { element } from "./dom.js";
import { rough, word } from "./words.js";

export class Report {
  constructor() {
    this.element = element("div", "lumina-report");
    this.error = element("div", "lumina-error", { role: "alert" });
    this.status = element("div", "lumina-status", { role: "status" });
    this.result = element("div", "lumina-result");
    this.element.append(this.error, this.status, this.result);
    this.parts = /** @type {string[]} */ ([]);
  }

  /** The sentence, and the text with the faulty part marked. @param {string} sentence @param {Told} [fault] */
  showError(sentence, fault) {
    this.error.replaceChildren(sentence);
    if (!fault?.span) return;
    const { text, span: [start, end] } = fault;
    const code = element("code", "", {}, text.slice(0, start));
    code.append(element("mark", "", {}, text.slice(start, end) || "\u00a0"), text.slice(end));
    this.error.append(code);
  }

  /** @param {RunResult} run */
  showResult({ seconds, estimate, segments }) {
    const expected = (/** @type {number | null} */ guess) => (guess === null ? "" : ` (${rough(guess)})`);
    const parts = segments.map((part) => `${part.patch}${part.guided ? " ×2" : ""} ${rough(part.seconds)}${expected(part.estimate)} s`);
    this.parts = [`${word("result")} ${rough(seconds)}${expected(estimate)} s`, ...parts];
    this.status.textContent = "";
    this.showMotion(null, "");
  }

  /** @param {number | null} score measured @param {string} asked the schedule's text */
  showMotion(score, asked) {
    const motion = score === null ? [] : [word("result_motion", { score: rough(score), asked })];
    this.result.textContent = [...this.parts, ...motion].join(" · ");
  }
}

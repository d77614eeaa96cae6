// The lines under a timeline: what is wrong, what runs, what the last run took.

import { element } from "./dom.js";
import { rough, word } from "./words.js";

/** @typedef {{seconds: number, estimate: number | null, segments: {patch: string, guided: boolean, seconds: number, estimate: number | null}[]}} Result */

export class Report {
  constructor() {
    this.element = element("div", "lumina-report");
    this.error = element("div", "lumina-error", { role: "alert" });
    this.status = element("div", "lumina-status", { role: "status" });
    this.result = element("div", "lumina-result");
    /** @type {Result | null} */
    this.last = null;
    this.motion = "";
    this.element.append(this.error, this.status, this.result);
  }

  /** The sentence, and the text with the faulty part marked. @param {string} sentence @param {{text: string, span?: [number, number]}} [fault] */
  showError(sentence, fault) {
    this.error.replaceChildren(sentence);
    if (!sentence || !fault?.span) return;
    const [start, end] = fault.span;
    const code = element("code", "");
    code.append(fault.text.slice(0, start), element("mark", "", {}, fault.text.slice(start, end) || " "), fault.text.slice(end));
    this.error.append(code);
  }

  /** @param {string} text */
  showStatus(text) {
    this.status.textContent = text;
  }

  /** @param {Result} result */
  showResult(result) {
    this.last = result;
    this.motion = "";
    this.status.textContent = "";
    this.#draw();
  }

  /** @param {number} score measured @param {string} asked the schedule's text */
  showMotion(score, asked) {
    this.motion = word("result_motion", { score: rough(score), asked });
    this.#draw();
  }

  #draw() {
    const parts = [];
    if (this.last) {
      const { seconds, estimate, segments } = this.last;
      parts.push(word("result", { seconds: rough(seconds) }));
      if (estimate != null) parts.push(word("result_estimate", { seconds: rough(estimate) }));
      for (const segment of segments) {
        const patch = segment.patch + (segment.guided ? " ×2" : "");
        const expected = segment.estimate == null ? "" : ` ${word("result_part_estimate", { seconds: rough(segment.estimate) })}`;
        parts.push(word("result_part", { patch, seconds: rough(segment.seconds) }) + expected);
      }
    }
    if (this.motion) parts.push(this.motion);
    this.result.textContent = parts.join(" · ");
    this.result.title = this.result.textContent;
  }
}

// Lines below a timeline: error, progress, last run.

import { element, rough, i18n } from "./page.js";

export class Report {
	error = element("div", "lumina-error", { role: "alert" });
	status = element("div", "lumina-status", { role: "status" });
	result = element("div", "lumina-result");
	element = element("div", "lumina-report", {}, this.error, this.status, this.result);
	run = "";

	/** @type {T.showError} */
	showError(sentence, fault) {
		this.error.replaceChildren(sentence);
		if (fault?.span) {
			const { text, span: [start, end] } = fault;
			const mark = element("mark", "", {}, text.slice(start, end) || "\u00a0");
			this.error.append(element("code", "", {}, text.slice(0, start), mark, text.slice(end)));
		}
		// Tab reaches what scrolls.
		const at = this.element;
		at.tabIndex = at.scrollHeight > at.clientHeight ? 0 : -1;
	}

	/** @type {T.showResult} */
	showResult({ seconds, estimate, segments }) {
		const took = (/** @type {number} */ time, /** @type {number | null} */ guess) =>
			guess === null ? `${rough(time)} s` : i18n("estimated", { seconds: rough(time), guess: rough(guess) });
		const parts = segments.map((part) => `${part.patch}${part.guided ? " ×2" : ""} ${took(part.seconds, part.estimate)}`);
		this.result.textContent = this.run = [`${i18n("result")} ${took(seconds, estimate)}`, ...parts].join(" · ");
	}

	/** @type {T.reportShowMotion} */
	showMotion(score, asked) {
		this.result.textContent = `${this.run}\n${i18n("result_motion", { score: rough(score), asked })}`;
	}
}

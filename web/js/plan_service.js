// Asks the server about plans: one question at a time, and of those that wait only the last.

import { api } from "/scripts/api.js";

/** @param {string} path @param {unknown} [body] */
export async function ask(path, body) {
  const post = { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const response = await api.fetchApi(`/lumina-video/${path}`, body === undefined ? {} : post);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

export class PlanService {
  /** @param {(answer: Answer | null, question: Question) => void} take called with null where no answer came */
  constructor(take) {
    this.take = take;
    this.busy = false;
    this.waiting = /** @type {Question | null} */ (null);
  }

  /** @param {Question} question */
  async ask(question) {
    this.waiting = question;
    if (this.busy) return;
    this.busy = true;
    while (this.waiting) {
      const asked = this.waiting;
      this.waiting = null;
      this.take(await ask("plan", asked).catch(() => null), asked);
    }
    this.busy = false;
  }
}

// Asks the server about plans: one question at a time, and of those that wait only the last.

import { api } from "/scripts/api.js";

/** @type {T.serviceAsk} */
export async function ask(path, body) {
  const post = body ? { method: "POST", body: JSON.stringify(body) } : {};
  const response = await api.fetchApi(`/lumina-video/${path}`, post).catch(() => null);
  return response?.ok ? response.json() : null;
}

export class PlanService {
  waiting = /** @type {Question | null} */ (null);
  busy = false;

  /** @param {(answer: Answer | null, question: Question) => void} take */
  constructor(take) {
    this.take = take;
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
}

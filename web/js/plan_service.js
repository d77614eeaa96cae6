// Asks the server about plans: one question at a time, and of those that wait only the last.

import { api } from "/scripts/api.js";

/** @typedef {import("./segments.js").Schedule} Schedule */
/** @typedef {Schedule & {text: string, own: boolean, error?: string, span?: [number, number]}} Told */
/** @typedef {{patch: string, guided: boolean, t_start: number, t_end: number, first_step: number, last_step: number, steps: number, tokens: number, share: number}} Segment */
/** @typedef {{grid: number[], segments: Segment[], flops: number, relative: number, nfe: number, passes: number}} Outline */
/** @typedef {{seconds: number, segments: number[], runs: number, exact: boolean}} Estimate */
/** @typedef {{schedules: Record<string, Told>, preset: string, patches: string[], error: string | null, outline: Outline | null, estimate?: Estimate | null}} Answer */
/** @typedef {{fields: Record<string, unknown>, budget?: number}} Question */

/** @param {string} path @param {unknown} [body] */
export async function ask(path, body) {
  const post = { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const response = await api.fetchApi(`/lumina-video/${path}`, body === undefined ? {} : post);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

export class PlanService {
  /** @param {(answer: Answer | null, question: Question) => void} onAnswer null where the server does not answer */
  constructor(onAnswer) {
    this.onAnswer = onAnswer;
    /** @type {Question | null} */
    this.waiting = null;
    this.busy = false;
  }

  /** @param {Question} question */
  async ask(question) {
    this.waiting = question;
    if (this.busy) return;
    this.busy = true;
    while (this.waiting) {
      const asked = this.waiting;
      this.waiting = null;
      const answer = await ask("plan", asked).catch(() => null);
      // A newer question makes this answer old, but while dragging any answer is better than none.
      this.onAnswer(answer, asked);
    }
    this.busy = false;
  }
}

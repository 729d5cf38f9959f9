// Changes of many jobs at once.

import { call } from "./api.js";
import { count } from "./format.js";

const LIMIT = 1000;
const DONE = { cancel: "cancelled", retry: "retried" };

/**
 * Cancels or retries jobs, and returns what happened in a sentence.
 *
 * @param {"cancel"|"retry"} action
 * @param {object} subject {ids} or {filter}.
 * @param {string} reason The reason of a cancellation.
 */
export async function runBulk(action, subject, reason) {
  const body = { ...subject };
  if (subject.filter) body.limit = LIMIT;
  if (action === "cancel" && reason) body.reason = reason;
  const answer = await call(`/api/scrape-jobs/${action}`, { method: "POST", body });
  return summary(action, answer.data, answer.has_more);
}

/** Returns a sentence such as "37 cancelled, 2 already completed". */
function summary(action, outcomes, hasMore) {
  const groups = new Map();
  for (const outcome of outcomes) {
    const text = outcomeText(action, outcome);
    groups.set(text, (groups.get(text) ?? 0) + 1);
  }
  if (!groups.size) return "No job matched";
  const sorted = [...groups].sort(([a], [b]) => (b === DONE[action]) - (a === DONE[action]));
  const text = sorted.map(([what, number]) => `${count(number)} ${what}`).join(", ");
  return hasMore ? `${text}; more jobs may match: repeat it` : text;
}

function outcomeText(action, { outcome, error = "", details = "" }) {
  if (outcome === DONE[action]) return outcome;
  if (outcome === "not_found") return "no longer there";
  const already = /already (\w+)/.exec(`${error} ${details}`);
  if (already) return `already ${already[1]}`;
  const from = /from '(\w+)'/.exec(error);
  if (/Maximum retries/.test(`${error} ${details}`)) return "without a retry left";
  return from ? `not possible while ${from[1]}` : `refused (${error || outcome})`;
}

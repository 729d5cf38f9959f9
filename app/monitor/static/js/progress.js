// The progress of a job, from its statistics.

import { el, setText } from "./dom.js";
import { count, percent } from "./format.js";

const isCount = (value) => typeof value === "number" && Number.isFinite(value) && value >= 0;

/**
 * Returns the progress of a job.
 *
 * @returns {object} pages and total (null where unknown), ratio (0 to 1, null without a total) and
 *   text, which is true even where the ratio had to be limited.
 */
export function progressOf({ stats, status }) {
  const pages = isCount(stats?.pagesProcessed) ? stats.pagesProcessed : null;
  const total = isCount(stats?.totalPages) && stats.totalPages > 0 ? stats.totalPages : null;
  if (pages === null) return { pages, total, ratio: null, text: status === "running" ? "no report yet" : "" };
  if (total === null) return { pages, total, ratio: null, text: `${count(pages)} pages` };
  const text = `${count(pages)} of ${count(total)} pages`;
  if (pages > total) {
    return { pages, total, ratio: 1, text: `${text}, ${count(pages - total)} more than expected` };
  }
  return { pages, total, ratio: pages / total, text };
}

/** Makes a progress bar with its text; `update` takes the job. */
export function progressBar(label) {
  const fillBar = el("div.fill");
  const bar = el("div.bar", { role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, fillBar);
  const text = el("span.progress-text");
  const element = el("div.progress", null, bar, text);
  const update = (job) => {
    const { ratio, text: words } = progressOf(job);
    const isIndeterminate = ratio === null && job.status === "running";
    element.dataset.status = job.status;
    bar.classList.toggle("indeterminate", isIndeterminate);
    bar.hidden = ratio === null && !isIndeterminate;
    fillBar.style.width = isIndeterminate ? "" : `${(ratio ?? 0) * 100}%`;
    if (ratio === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.floor(ratio * 100));
    bar.setAttribute("aria-valuetext", words || "no progress");
    setText(text, ratio === null ? words : `${percent(Math.floor(ratio * 1000) / 1000)} · ${words}`);
  };
  return { element, update };
}

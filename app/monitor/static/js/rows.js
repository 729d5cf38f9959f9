// A row of a list of jobs. It changes in place.

import { el, own, setText, show } from "./dom.js";
import { duration, setTime, shortId, time } from "./format.js";
import { progressBar } from "./progress.js";
import { setStatus, statusChip } from "./status.js";

/** Makes the row of a job; with `onMark` it has a checkbox. */
export function jobRow(job, onMark = null) {
  const chip = statusChip(job.status);
  const note = el("span.note");
  const progress = progressBar(`Progress of ${job.domain}`);
  const priority = el("td.number", { "data-label": "Priority" });
  const retries = el("td.number", { "data-label": "Retries" });
  const created = time(job.created_at, "ago");
  const changed = time(job.updated_at, "ago");
  const mark = onMark && el("input", {
    type: "checkbox",
    "aria-label": `Mark the job of ${job.domain}`,
    change: () => onMark(job.id, mark.checked),
  });
  const element = el("tr", { "data-row": job.id },
    mark && el("td.mark", null, mark),
    el("td.state", null, chip),
    el("td.name", null,
      el("a", { href: `/jobs/${job.id}` }, own(job.domain)),
      el("span.under", null, own(job.job_type), " · ", el("code", { title: job.id }, shortId(job.id))),
      note),
    el("td.doing", null, progress.element),
    priority, retries,
    el("td.when", { "data-label": "Created" }, created),
    el("td.when", { "data-label": "Changed" }, changed),
  );
  const update = (now) => {
    element.dataset.status = now.status;
    setStatus(chip, now.status);
    setText(note, remark(now));
    show(note, note.textContent !== "");
    progress.update(now);
    setText(priority, now.priority);
    setText(retries, `${now.retry_count} of ${now.max_retries}`);
    setTime(created, now.created_at);
    setTime(changed, now.updated_at);
  };
  update(job);
  return { element, update, mark };
}

/** Returns what else is to know about a job in one line: its error, or when it is due. */
function remark(job) {
  if (job.status === "pending" && job.scheduled_for) {
    const seconds = (new Date(job.scheduled_for) - Date.now()) / 1000;
    if (seconds > 0) return `due in ${duration(seconds)}`;
  }
  return ["failed", "cancelled"].includes(job.status) ? (job.error_message ?? "") : "";
}

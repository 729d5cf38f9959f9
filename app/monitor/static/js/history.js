// The history of a job: read page by page, and what follows from it.

import { call, queryOf } from "./api.js";

const PAGE = 200;
const MAX_EVENTS = 20_000;
const MIN_SILENCE_SECONDS = 60;
const USUAL_GAPS = 5;

/** The events of a job, oldest first. */
export class History {
  constructor(jobId, answer) {
    this.path = `/api/scrape-jobs/${jobId}/history`;
    this.events = [];
    this.lastPage = null; // the cursor of the last page, which later events are added to
    if (answer?.success) this.#add(answer);
  }

  #add({ data, pagination }) {
    const known = this.events.at(-1)?.id ?? 0;
    this.events.push(...data.filter((event) => event.id > known));
    if (pagination.has_more) this.lastPage = pagination.next_cursor;
    return pagination.has_more;
  }

  /** Reads what has been added since the last call. */
  async refresh() {
    for (let more = true; more && this.events.length < MAX_EVENTS; ) {
      more = this.#add(await call(`${this.path}${queryOf({ limit: PAGE, cursor: this.lastPage })}`));
    }
  }

  /** Whether the job has more events than are read. */
  get isCut() {
    return this.events.length >= MAX_EVENTS;
  }

  /** The attempts: {number, start, end, status, error, worker}, oldest first. */
  get attempts() {
    const attempts = [];
    for (const event of this.events) {
      if (event.old_status === event.new_status) continue;
      const current = attempts.at(-1);
      if (event.new_status === "running") {
        attempts.push({ number: attempts.length + 1, start: event.at, end: null, status: "running", error: null, worker: event.changes.worker_id?.to ?? null });
      } else if (event.old_status === "running" && current) {
        Object.assign(current, { end: event.at, status: event.new_status, error: event.changes.error_message?.to ?? null });
      }
    }
    return attempts;
  }

  /** The reports of progress of the last attempt: {at, pages}, oldest first. */
  get reports() {
    let reports = [];
    for (const event of this.events) {
      const starts = event.new_status === "running" && event.old_status !== "running";
      if (starts) reports = [{ at: event.at, pages: 0 }];
      const pages = event.changes["stats.pagesProcessed"]?.to;
      if (typeof pages !== "number") continue;
      if (starts) reports[0].pages = pages;
      else reports.push({ at: event.at, pages });
    }
    return reports;
  }

  /** What is known of a cancelled worker: {at} when it heard, "waiting", or null without a worker. */
  get cancellation() {
    let found = null;
    for (const event of this.events) {
      if (event.new_status === "cancelled" && event.old_status === "running") found = "waiting";
      if (event.action === "cancel_heard") found = { at: event.at };
    }
    return found;
  }

  /** The median seconds between the last reports, or null. */
  get usualGap() {
    const times = this.reports.slice(-21).map((report) => Date.parse(report.at) / 1000);
    const gaps = times.slice(1).map((time, index) => time - times[index]).sort((a, b) => a - b);
    return gaps.length ? gaps[Math.floor(gaps.length / 2)] : null;
  }

  /** Whether a running job has been silent for unusually long: {silence, usual} in seconds, or null. */
  stall(job) {
    const last = this.events.at(-1);
    if (job.status !== "running" || !last) return null;
    const usual = this.usualGap;
    const silence = (Date.now() - Date.parse(last.at)) / 1000;
    return silence > Math.max(MIN_SILENCE_SECONDS, USUAL_GAPS * (usual ?? 0)) ? { silence, usual } : null;
  }

  /** Pages per minute over the last reports of the attempt, or null. */
  get pagesPerMinute() {
    const recent = this.reports.slice(-20);
    const [start, end] = [recent[0], recent.at(-1)];
    if (recent.length < 2) return null;
    const minutes = (Date.parse(end.at) - Date.parse(start.at)) / 60_000;
    const pages = end.pages - start.pages;
    return minutes > 0 && pages > 0 ? pages / minutes : null;
  }
}

// The counts of the list's tabs: from the running totals of the statistics, changed by each event.

import { call, queryOf } from "./api.js";
import { setText } from "./dom.js";
import { count } from "./format.js";
import { STATUSES } from "./status.js";

const REFRESH_MS = 15_000;

/** The filters of the list that the statistics know. */
export const COUNTED_FILTERS = ["domain", "job_type", "customer_config_id"];

/** The counts of the jobs that match the filters of a list, except for its status. */
export class TabCounts {
  constructor(filter) {
    const { status, ...others } = filter;
    this.isKnown = Object.keys(others).every((name) => COUNTED_FILTERS.includes(name));
    this.path = `/api/scrape-jobs/stats${queryOf(others)}`;
    this.counts = null;
  }

  /** Shows the counts of an answer that came with the page, and keeps them current. */
  start(answer) {
    if (!this.isKnown) return;
    if (answer.success) this.#show(answer);
    setInterval(() => this.refresh(), REFRESH_MS);
  }

  /** Reads the counts again. */
  async refresh() {
    if (!this.isKnown || document.hidden) return;
    try {
      this.#show(await call(this.path));
    } catch {
      // The next call shows them again; the state of the connection says what is wrong.
    }
  }

  /** Counts a transition. */
  change({ old_status: from, new_status: to }) {
    if (!this.counts || from === to) return;
    if (from) this.counts[from] -= 1;
    if (to) this.counts[to] += 1;
    this.#paint();
  }

  #show(answer) {
    this.counts = { ...answer.data.by_status };
    this.#paint();
  }

  #paint() {
    const total = STATUSES.reduce((sum, status) => sum + (this.counts[status] ?? 0), 0);
    for (const element of document.querySelectorAll("[data-count]")) {
      const { count: name } = element.dataset;
      setText(element, count(Math.max(0, name === "all" ? total : (this.counts[name] ?? 0))));
    }
  }
}

// The counts of the list's tabs: from the running totals of the statistics, read again after transitions.

import { call, queryOf } from "./api.js";
import { setText } from "./dom.js";
import { count } from "./format.js";
import { STATUSES } from "./status.js";

const REFRESH_MS = 15_000;
const SOON_MS = 500;
const COST = 20; // the pause after a read is at least this many times its duration

/** The filters of the list that the statistics know. */
export const COUNTED_FILTERS = ["domain", "job_type", "customer_config_id"];

/** The counts of the jobs that match the filters of a list, except for its status. */
export class TabCounts {
  constructor(filter) {
    const { status, ...others } = filter;
    this.isKnown = Object.keys(others).every((name) => COUNTED_FILTERS.includes(name));
    this.path = `/api/scrape-jobs/stats${queryOf(others)}`;
    this.isStale = false;
    this.isReading = false;
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

  /** Reads the counts soon after a transition. An event cannot be added: the counts may know it. */
  async changed({ old_status: from, new_status: to }) {
    if (from === to) return;
    this.isStale = true;
    if (this.isReading) return;
    this.isReading = true;
    while (this.isStale) {
      await pause(SOON_MS);
      this.isStale = false;
      const start = Date.now();
      await this.refresh();
      await pause(COST * (Date.now() - start));
    }
    this.isReading = false;
  }

  #show({ data: { by_status: counts } }) {
    const total = STATUSES.reduce((sum, status) => sum + counts[status], 0);
    for (const element of document.querySelectorAll("[data-count]")) {
      const { count: name } = element.dataset;
      setText(element, count(name === "all" ? total : counts[name]));
    }
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

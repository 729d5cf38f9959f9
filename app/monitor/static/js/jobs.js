// The list of jobs.

import { ApiError, call, queryOf, unwrap } from "./api.js";
import { runBulk } from "./bulk.js";
import { el, fill, keyed, own, setText, show } from "./dom.js";
import { ask, reasonField } from "./dialogs.js";
import { restoreMoments } from "./filters.js";
import { count } from "./format.js";
import { TabCounts, COUNTED_FILTERS } from "./counts.js";
import { Live } from "./live.js";
import { can, firstAnswer } from "./page.js";
import { jobRow } from "./rows.js";
import { announce, notice, showConnection } from "./shell.js";
import { STATUSES } from "./status.js";

const LISTED = "id,domain_id,customer_config_id,domain,job_type,status,priority,retry_count,max_retries,started_at,completed_at,error_message,stats,created_at,updated_at,scheduled_for,allowed_transitions,lease_expires_at,worker_id";
const MAX_DEPARTED = 20; // jobs that are read one by one, because they have left the filter
const FILTERS = [...COUNTED_FILTERS, "status", "tag", "created_after", "created_before", "updated_after", "updated_before"];

const asked = Object.fromEntries([...new URLSearchParams(location.search)].filter(([, value]) => value));
const filter = Object.fromEntries(FILTERS.filter((name) => asked[name]).map((name) => [name, asked[name]]));
const statuses = filter.status?.split(",") ?? STATUSES;
const isFirstPage = !asked.cursor && !asked.sort;
const canChange = can("jobs:cancel") || can("jobs:write");

const table = document.getElementById("jobs");
const body = table.tBodies[0];
const markAll = document.getElementById("mark-all");
const freshButton = document.getElementById("fresh");
const rows = new Map(); // id → row
const marked = new Set();
const fresh = new Map(); // id → a job that the list does not show yet
let listed = []; // the jobs, in the order of the rows
let hasMore = false;
let hasPage = false; // false until the service has given one

const counts = new TabCounts(filter);

const listPath = () => `/api/scrape-jobs${queryOf({ fields: LISTED, ...asked })}`;

/** Shows a page of the list: its jobs in its order. */
function showPage(answer) {
  listed = answer.data;
  hasMore = answer.pagination.has_more;
  hasPage = true;
  fresh.clear();
  keyed(body, rows, listed, (job) => job.id, (job) => jobRow(job, canChange ? onMark : null));
  for (const id of marked) if (!rows.has(id)) marked.delete(id);
  showPages(answer.pagination);
  showFresh();
  showMarks();
  show(table, listed.length > 0);
  showEmpty();
}

/** Changes the rows that are shown, and collects the jobs that are not. */
function merge(jobs) {
  for (const job of jobs) take(job);
  showFresh();
}

/** Reads the page of the list again, and the listed jobs that are no longer on it. */
async function readAgain() {
  const { data } = await call(listPath());
  const found = new Set(data.map((job) => job.id));
  const departed = listed.filter((job) => !found.has(job.id)).slice(0, MAX_DEPARTED);
  merge(data);
  for (const { id } of departed) {
    try {
      merge([(await call(`/api/scrape-jobs/${id}`)).data]);
    } catch (error) {
      if (error.status !== 404) throw error;
      rows.get(id)?.element.classList.add("departed"); // retention has removed it
    }
  }
  await counts.refresh();
}

function take(job) {
  const row = rows.get(job.id);
  if (row) {
    row.update(job);
    row.element.classList.toggle("departed", !statuses.includes(job.status));
    listed = listed.map((known) => (known.id === job.id ? job : known));
  } else if (isFirstPage && statuses.includes(job.status) && belongsHere(job)) {
    fresh.set(job.id, job);
  } else {
    fresh.delete(job.id);
  }
}

/** Returns whether a job would be on this page: the list is newest first. */
function belongsHere(job) {
  const oldest = listed.at(-1);
  return !hasMore || !oldest || job.created_at >= oldest.created_at;
}

function showFresh() {
  show(freshButton, fresh.size > 0);
  setText(freshButton, fresh.size ? `${count(fresh.size)} new – show` : "");
}

function showPages({ next_cursor: next, has_more: more }) {
  const nav = document.getElementById("pages");
  const { cursor, ...rest } = asked;
  fill(nav, [cursor, next, more], () => [
    cursor && el("a.button", { href: `/${queryOf(rest)}` }, "Newest"),
    more && el("a.button", { href: `/${queryOf({ ...asked, cursor: next })}`, rel: "next" }, "Older jobs"),
  ]);
  show(nav, Boolean(cursor || more));
}

function showEmpty() {
  const place = document.getElementById("empty");
  const isFiltered = Object.keys(filter).length > 0;
  fill(place, [listed.length > 0, isFiltered], () => {
    if (listed.length) return [];
    if (isFiltered) {
      return el("div.empty", null, el("h2", null, "No job matches these filters"),
        el("p", null, el("a.button", { href: "/" }, "Clear the filters")));
    }
    return el("div.empty", null,
      el("h2", null, "No jobs yet"),
      el("p", null, "A scrape job is created with one call of the API:"),
      el("pre", null, `curl -X POST ${location.origin}/api/scrape-jobs \\\n  -H "Content-Type: application/json" \\\n  -d '{"domain": "example.com"}'`),
      can("jobs:write") && el("button.primary", { type: "button", click: createExample }, "Create an example job"));
  });
}

async function createExample() {
  await attempt("create", async () => {
    await call("/api/scrape-jobs", {
      method: "POST",
      body: { domain: "example.com", config: { maxPages: 50 }, metadata: { source: "monitor", tags: ["example"] } },
    });
    await reload();
    announce("The example job was created");
  });
}

async function reload() {
  showPage(await call(listPath()));
  notice("list", null);
}

/** Does something and shows its failure, or removes the notice of an earlier one. */
async function attempt(key, act) {
  try {
    await act();
    notice(key, null);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    notice(key, error.message);
  }
}

// Transitions of the listed jobs, for screen readers: together, so that they do not talk all the time.

const ANNOUNCE_MS = 3_000;
let transitions = [];

function announceChange({ old_status: from, new_status: to, job }) {
  if (from === to || !rows.has(job.id)) return;
  if (!transitions.length) {
    setTimeout(() => {
      announce(transitions.length === 1 ? transitions[0] : `${transitions.length} jobs have another status`);
      transitions = [];
    }, ANNOUNCE_MS);
  }
  transitions.push(`The job of ${job.domain} is ${to}`);
}

// Marks and bulk changes.

function onMark(id, isMarked) {
  if (isMarked) marked.add(id);
  else marked.delete(id);
  showMarks();
}

function showMarks() {
  for (const [id, row] of rows) {
    if (row.mark) row.mark.checked = marked.has(id);
    row.element.classList.toggle("marked", marked.has(id));
  }
  const isFiltered = Object.keys(filter).length > 0;
  const usable = marked.size > 0 || (isFiltered && listed.length > 0);
  show(document.getElementById("bulk"), canChange && listed.length > 0);
  setText(document.getElementById("marked"), marked.size ? `${count(marked.size)} marked` : "No job marked");
  setText(document.getElementById("bulk-hint"), !marked.size && usable ? "These act on all jobs that match the filters." : "");
  show(document.getElementById("unmark"), marked.size > 0);
  for (const [id, scope] of [["bulk-cancel", "jobs:cancel"], ["bulk-retry", "jobs:write"]]) {
    const button = document.getElementById(id);
    button.disabled = !usable;
    show(button, can(scope));
  }
  markAll.checked = marked.size > 0 && marked.size === rows.size;
  markAll.indeterminate = marked.size > 0 && marked.size < rows.size;
}

function choiceField() {
  const isFiltered = Object.keys(filter).length > 0;
  const choice = (value, text, checked) =>
    el("label.choice", null, el("input", { type: "radio", name: "which", value, checked }), text);
  const described = Object.entries(filter).flatMap(([name, value]) => [" ", el("code", null, name, "=", own(value))]);
  return el("fieldset", null, el("legend", null, "Which jobs"),
    marked.size > 0 && choice("ids", `The ${count(marked.size)} marked`, true),
    isFiltered && choice("filter", ["All that match", ...described], marked.size === 0));
}

async function bulk(action) {
  const isCancel = action === "cancel";
  const values = await ask({
    title: isCancel ? "Cancel these jobs?" : "Retry these jobs?",
    confirm: isCancel ? "Cancel the jobs" : "Retry the jobs",
    dismiss: isCancel ? "Keep them" : "Close",
    isDangerous: isCancel,
    content: [choiceField(), ...(isCancel ? [reasonField()] : [])],
  });
  if (!values) return;
  const subject = values.get("which") === "ids" ? { ids: [...marked] } : { filter };
  await attempt("bulk", async () => {
    const text = await runBulk(action, subject, values.get("reason"));
    const result = document.getElementById("result");
    result.replaceChildren(el("p.notice.good", null, el("span", null, text),
      el("button.quiet", { type: "button", click: () => result.replaceChildren() }, "Dismiss")));
    marked.clear();
    showMarks();
    await readAgain();
  });
}

function start() {
  restoreMoments(document.getElementById("filters"));
  freshButton.addEventListener("click", () => attempt("list", reload));
  markAll.addEventListener("change", () => {
    for (const id of rows.keys()) marked[markAll.checked ? "add" : "delete"](id);
    showMarks();
  });
  document.getElementById("unmark").addEventListener("click", () => {
    marked.clear();
    showMarks();
  });
  document.getElementById("bulk-cancel").addEventListener("click", () => bulk("cancel"));
  document.getElementById("bulk-retry").addEventListener("click", () => bulk("retry"));
  show(markAll, canChange);
  try {
    showPage(unwrap(firstAnswer("jobs")));
  } catch (error) {
    notice("list", error.message);
    if (firstAnswer("jobs").error.startsWith("Invalid")) return; // a filter; a stream has no use
  }
  counts.start(firstAnswer("counts"));
  const { status, ...streamed } = filter; // jobs that leave the status must be seen as well
  new Live({
    path: `/api/scrape-jobs/events${queryOf(streamed)}`,
    onState: showConnection,
    refresh: async () => {
      await (hasPage ? readAgain() : reload());
      notice("list", null);
    },
    onEvent: (event) => {
      counts.changed(event);
      announceChange(event);
      merge([event.job]);
      showEmpty();
    },
  });
}

start();

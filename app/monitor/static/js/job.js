// One job.

import { ApiError, call, queryOf, unwrap } from "./api.js";
import { chart } from "./charts.js";
import { ask, copyButton, reasonField } from "./dialogs.js";
import { el, fill, own, setText, show } from "./dom.js";
import { figure, requestFigures, showFigures } from "./figures.js";
import { count, duration, rounded, time } from "./format.js";
import { History } from "./history.js";
import { Live } from "./live.js";
import { can, firstAnswer, viewer } from "./page.js";
import { progressBar, progressOf } from "./progress.js";
import { announce, notice, showConnection } from "./shell.js";
import { setStatus, statusChip } from "./status.js";
import { timeline } from "./timeline.js";
import { tree } from "./tree.js";

const HISTORY_MS = 1_000;
const root = document.getElementById("job");
const id = root.dataset.id;
const path = `/api/scrape-jobs/${encodeURIComponent(id)}`;

let job;
let etag = null;
let webhooks = new Map(); // id → url
let deliveries = new Map(); // number of an event → its deliveries
const history = new History(encodeURIComponent(id), firstAnswer("history"));

// The parts of the page, from top to bottom.
const title = el("h1");
const chip = statusChip("pending");
const lead = el("p.muted.lead");
const cancelButton = el("button.danger", { type: "button", click: cancel }, "Cancel…");
const retryButton = el("button.primary", { type: "button", click: retry }, "Retry");
const remarks = el("div", { id: "remarks" });
const bar = progressBar("Progress");
const figures = el("dl.figures");
const progressChart = el("div.chart");
const chartCard = el("section", { hidden: true }, el("h2", null, "Progress over time"), progressChart);
const errorBox = el("div");
const extracted = el("div.columns");
const attempts = el("div");
const events = timeline();
const details = el("dl.details");
const documents = el("div.documents");
let plot = null;

function build() {
  root.replaceChildren(
    el("p.back", null, el("a", { href: "/" }, "All jobs")),
    el("div.title-row", null, el("div.title", null, title, chip),
      el("div.actions", null,
        copyButton("Copy as curl", curl), copyButton("Copy the id", () => job.id), retryButton, cancelButton)),
    lead, remarks,
    el("section.card.hero", null, el("h2.unseen", null, "Progress"), bar.element, figures),
    errorBox, chartCard, extracted, attempts,
    el("div.split", null,
      el("section", null, el("h2", null, "History"), events.element),
      el("section", null, el("h2", null, "Details"), details, documents)),
  );
}

function curl() {
  const key = viewer.key ? ' \\\n  -H "Authorization: Bearer $SCRAPE_JOBS_KEY"' : "";
  return `curl "${location.origin}${path}"${key}`;
}

/** Shows the job as it is now. */
function render() {
  const isFirst = title.textContent === "";
  fill(title, job.domain, () => own(job.domain));
  document.title = `${job.domain} · ${job.status} · Scrape Jobs`;
  setStatus(chip, job.status);
  setText(lead, `${job.job_type} · ${job.id}`);
  const allowed = job.allowed_transitions;
  show(cancelButton, allowed.includes("cancelled") && can("jobs:cancel"));
  show(retryButton, allowed.includes("pending") && can("jobs:write"));
  bar.update(job);
  renderFigures();
  renderRemarks();
  fill(errorBox, [job.error_message, job.status], () => job.error_message && el("div.error-message", null,
    el("strong", null, job.status === "cancelled" ? "Cancelled" : "Error"), el("pre", { dir: "auto", tabindex: 0, "aria-label": "Error" }, job.error_message)));
  showFigures(extracted, job.stats);
  renderDetails();
  fill(documents, [job.stats, job.config, job.metadata], () => [tree("Stats", job.stats), tree("Config", job.config), tree("Metadata", job.metadata)]);
  if (!isFirst) speak();
  spoken = { status: job.status, quarter: quarter() };
}

let spoken = { status: null, quarter: 0 };

const quarter = () => Math.floor((progressOf(job).ratio ?? 0) * 4);

/** Announces a transition and each quarter of the progress. */
function speak() {
  if (job.status !== spoken.status) announce(`The job of ${job.domain} is ${job.status}`);
  else if (quarter() > spoken.quarter) announce(`${quarter() * 25} percent: ${progressOf(job).text}`);
}

function renderFigures() {
  const { pages, total } = progressOf(job);
  const start = Date.parse(job.started_at);
  const end = job.completed_at ? Date.parse(job.completed_at) : Date.now();
  const seconds = Math.max(0, (end - start) / 1000);
  const isRunning = job.status === "running";
  const rate = (isRunning && history.pagesPerMinute) || (pages && seconds > 0 ? pages / (seconds / 60) : null);
  const left = isRunning && rate && !history.stall(job) && total > pages ? ((total - pages) / rate) * 60 : null;
  const shown = [
    rate && ["pages per minute", rounded(rate)],
    left && ["time left", `about ${duration(left)}`],
    Number.isFinite(seconds) && [isRunning ? "running for" : "duration", duration(seconds)],
  ].filter(Boolean);
  fill(figures, [shown, job.stats], () => [...shown.map(([name, value]) => figure(name, value)), ...requestFigures(job.stats)]);
}

/** Says in words what the figures do not show. */
function renderRemarks() {
  const found = [];
  const stall = history.stall(job);
  if (stall) {
    const usually = stall.usual ? `, usually every ${duration(stall.usual)}` : "";
    found.push(["warn", `No report for ${duration(Math.floor(stall.silence))}${usually}`]);
  }
  if (job.status === "cancelled") {
    const heard = history.cancellation;
    if (heard === "waiting" && job.worker_id) found.push(["warn", "Waiting for the worker: it may still run, and hears of the cancellation with its next report"]);
    else if (heard === "waiting") found.push(["info", "The job ran without a lease, so the service cannot see whether its worker knows"]);
    else if (heard) found.push(["good", ["The worker heard it at ", time(heard.at, "clock")]]);
  }
  if (history.isCut) found.push(["info", `The first ${count(history.events.length)} events are shown`]);
  if (place) found.push(["info", place]);
  fill(remarks, found.map(([kind, text]) => [kind, typeof text === "string" ? text : heardAt()]), () =>
    found.map(([kind, text]) => el(`p.remark.${kind}`, null, text)));
}

const heardAt = () => history.cancellation.at;

let place = null; // of a pending job in the queue, in words

async function refreshPlace() {
  place = null;
  if (job.status === "pending") {
    try {
      place = (await call(`${path}/queue`)).data.reason;
    } catch {
      return; // a remark that is missing needs no notice
    }
  }
  renderRemarks();
}

function renderDetails() {
  const row = (name, value) => el("div", null, el("dt", null, name), el("dd", null, value));
  const shown = [job.job_type, job.priority, job.retry_count, job.max_retries, job.created_at, job.started_at, job.completed_at, job.scheduled_for, job.updated_at, job.worker_id, job.lease_expires_at];
  fill(details, shown, () => [
    row("type", own(job.job_type)),
    row("priority", `${job.priority} of 10`),
    row("retries", `${job.retry_count} of ${job.max_retries}`),
    row("created", time(job.created_at)),
    job.scheduled_for && row("due", time(job.scheduled_for)),
    job.started_at && row("started", time(job.started_at)),
    job.completed_at && row("ended", time(job.completed_at)),
    row("changed", time(job.updated_at)),
    job.worker_id && row("worker", own(job.worker_id)),
    job.lease_expires_at && row("lease until", time(job.lease_expires_at)),
    job.customer_config_id && row("customer", el("code", null, job.customer_config_id)),
    row("domain id", el("code", null, job.domain_id)),
    row("id", el("code", null, job.id)),
  ]);
}

function renderHistory() {
  events.update(history.events, deliveries);
  fill(attempts, history.attempts, () => attemptsTable(history.attempts));
  const reports = history.reports;
  show(chartCard, reports.length >= 3);
  if (reports.length >= 3) {
    plot ??= chart(progressChart, { label: "Pages processed over time", series: [{ label: "pages", color: "--running", stepped: true }], format: count });
    plot.set([reports.map(({ at }) => Date.parse(at) / 1000), reports.map(({ pages }) => pages)]);
  }
  renderFigures();
  renderRemarks();
}

function attemptsTable(all) {
  if (!all.length) return null;
  return el("section", null, el("h2", null, "Attempts"), el("div.scroll.attempts", null, el("table.plain.cards", null,
    el("thead", null, el("tr", null, ["#", "Status", "Started", "Duration", "Error"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", null, all.slice(-50).map((one) => el("tr", null,
      el("td", { "data-label": "Attempt" }, one.number), el("td", null, statusChip(one.status)), el("td", { "data-label": "Started" }, time(one.start)),
      el("td", { "data-label": "Duration" }, one.end ? duration((Date.parse(one.end) - Date.parse(one.start)) / 1000) : "–"),
      el("td.wrap", { "data-label": "Error" }, one.error ? own(one.error) : "–")))))));
}

// Reading again.

async function refreshJob() {
  const answer = await call(path, { etag });
  notice("job", null);
  if (answer === null) return;
  ({ data: job, etag } = answer);
  render();
}

let isReading = false;
let isStale = false;

/** Reads the new part of the history, at most once a second. */
async function refreshHistory() {
  isStale = true;
  if (isReading) return;
  isReading = true;
  try {
    while (isStale) {
      isStale = false;
      await history.refresh();
      await refreshDeliveries();
      renderHistory();
      await new Promise((resolve) => setTimeout(resolve, HISTORY_MS));
    }
    notice("history", null);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    notice("history", error.message);
  } finally {
    isReading = false;
  }
}

async function refreshDeliveries() {
  if (!can("webhooks:manage")) return;
  const { data } = await call(`${path}/deliveries`);
  if (data.some(({ webhook_id: webhook }) => !webhooks.has(webhook))) {
    const found = await call(`/api/webhooks${queryOf({ limit: 200 })}`);
    webhooks = new Map(found.data.map((webhook) => [webhook.id, webhook.url]));
  }
  deliveries = Map.groupBy(data.map((one) => ({ ...one, url: webhooks.get(one.webhook_id) })), (one) => one.event_id);
}

// Changes.

async function change(act) {
  try {
    ({ data: job, etag } = await act());
    notice("change", null);
    render();
    await Promise.all([refreshHistory(), refreshPlace()]);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    notice("change", error.message);
    await refreshJob().catch(() => {});
  }
}

async function cancel() {
  const values = await ask({
    title: `Cancel the job of ${job.domain}?`,
    confirm: "Cancel the job",
    dismiss: "Keep it",
    isDangerous: true,
    content: [
      job.status === "running" && el("p", null, "Its worker hears of it with its next report."),
      reasonField(),
    ].filter(Boolean),
  });
  if (values) await change(() => call(`${path}${queryOf({ reason: values.get("reason") })}`, { method: "DELETE" }));
}

async function retry() {
  await change(() => call(`${path}/retry`, { method: "POST", body: {} }));
}

function start() {
  try {
    ({ data: job } = unwrap(firstAnswer("job")));
  } catch (error) {
    root.append(el("div.empty", null, el("h2", null, error.error), error.details && el("p", null, error.details)));
    if (!error.error.startsWith("Failed")) return;
    setTimeout(() => location.reload(), 5_000);
    return;
  }
  build();
  render();
  renderHistory();
  refreshHistory();
  refreshPlace();
  setInterval(() => {
    renderFigures();
    renderRemarks();
  }, 1_000);
  new Live({
    path: `${path}/events`,
    onState: showConnection,
    refresh: async () => {
      await refreshJob();
      refreshHistory();
    },
    onEvent: (event) => {
      const wasPending = job.status === "pending";
      job = event.job;
      etag = null;
      render();
      refreshHistory();
      if (wasPending || job.status === "pending") refreshPlace();
    },
  });
}

start();

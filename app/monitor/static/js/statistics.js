// Figures of a window of time, as charts and tables. Each number leads to the jobs behind it.

import { ApiError, call, queryOf } from "./api.js";
import { chart } from "./charts.js";
import { el, fill, own } from "./dom.js";
import { count, duration, percent, rounded, zone } from "./format.js";
import { firstAnswer } from "./page.js";
import { notice } from "./shell.js";
import { STATUSES, statusChip } from "./status.js";

const REFRESH_MS = 10_000;
const COST = 30; // the pause between two reads is at least this many times their duration
const HOURLY_SECONDS = 3 * 86400; // longer windows are shown by day
const SHOWN_GROUPS = 15;

const root = document.getElementById("statistics");
const seconds = Number(root.dataset.seconds) || null;
const kept = { domain: root.dataset.domain, job_type: root.dataset.jobType };
const unit = seconds && seconds <= HOURLY_SECONDS ? "hour" : "day";

const summary = el("dl.figures.large");
const byStatus = el("div");
const charts = {
  ended: chartWithTable("Throughput", `Jobs that ended, by ${unit}`, [
    { label: "ended", color: "--completed", bars: true }, { label: "of these failed", color: "--failed", bars: true }], count),
  rate: chartWithTable("Success rate", `Share of completed jobs among those that ended, by ${unit}`, [
    { label: "success rate", color: "--running" }], percent),
  times: chartWithTable("Completion times", `Duration of completed jobs, by ${unit}`, [
    { label: "median", color: "--running" }, { label: "95th percentile", color: "--failed" }], duration),
};
const groups = { domain: el("div"), job_type: el("div") };
const errors = el("div");
const resources = el("div");

function chartWithTable(title, label, series, format) {
  const place = el("div.chart");
  const body = el("tbody");
  const element = el("section.card", null, el("h2", null, title), place,
    el("details", null, el("summary", null, "As a table"), el("div.scroll", { tabindex: 0, role: "region", "aria-label": `${title} as a table` }, el("table.plain", null,
      el("thead", null, el("tr", null, el("th", { scope: "col" }, unit), series.map((one) => el("th.number", { scope: "col" }, one.label)))), body))));
  let plot = null;
  let times = [];
  return {
    element,
    set(groupsByTime, valuesOf) {
      const sorted = [...groupsByTime].sort((a, b) => Date.parse(a.key) - Date.parse(b.key));
      const columns = [sorted.map((one) => Date.parse(one.key) / 1000)];
      series.forEach((_, index) => columns.push(sorted.map((one) => valuesOf(one)[index])));
      times = columns[0];
      plot ??= chart(place, { label, series, format, range: () => shownSpan(times) });
      plot.set(columns);
      fill(body, columns, () => sorted.map((one) => el("tr", null,
        el("th", { scope: "row" }, el("a", { href: jobsPath({ ...span(one.key) }) }, one.key.replace("T", " ").slice(0, unit === "hour" ? 16 : 10))),
        valuesOf(one).map((value) => el("td.number", null, value == null ? "–" : format(value))))));
    },
  };
}

/** Returns the seconds at the edges of the charts: the window, or all that has figures. */
function shownSpan(times) {
  const step = unit === "hour" ? 3600 : 86400;
  const now = Date.now() / 1000;
  return [seconds ? now - seconds - step / 2 : Math.min(times[0] ?? now, now - 7 * step) - step, now + step / 2];
}

/** Returns the filter of the jobs that were created in an hour or a day. */
function span(key) {
  const start = new Date(key);
  const end = new Date(start.getTime() + (unit === "hour" ? 3_600_000 : 86_400_000));
  return { created_after: start.toISOString(), created_before: end.toISOString() };
}

const windowStart = () => (seconds ? new Date(Date.now() - seconds * 1000).toISOString() : null);

/** Returns the address of the list of the jobs behind a number. */
function jobsPath(filter) {
  return `/${queryOf({ ...kept, updated_after: filter.created_after ? null : windowStart(), ...filter })}`;
}

function build() {
  root.append(
    el("section.card", null, el("h2.unseen", null, "Summary"), summary, byStatus),
    charts.ended.element,
    el("div.columns.wide", null, charts.rate.element, charts.times.element),
    el("div.columns.wide", null, el("section.card", null, el("h2", null, "By domain"), groups.domain), el("section.card", null, el("h2", null, "By type"), groups.job_type)),
    el("div.columns.wide", null, el("section.card", null, el("h2", null, "Error patterns"), errors), el("section.card", null, el("h2", null, "Resources"), resources)));
}

function showFigures(data) {
  const big = (name, value, filter) => el("div.figure", null, el("dt", null, name), el("dd", null, filter ? el("a", { href: jobsPath(filter) }, value) : value));
  const { completion_seconds: times, by_status: counts } = data;
  fill(summary, [data.total, counts, data.success_rate, data.pages_per_minute, times, data.retry_rate], () => [
    big("jobs", count(data.total), {}),
    big("waiting now", count(counts.pending), { status: "pending" }),
    big("success rate", percent(data.success_rate), { status: "completed" }),
    big("failure rate", percent(data.failure_rate), { status: "failed" }),
    big("retry rate", percent(data.retry_rate)),
    big("median time", duration(times.p50)),
    big("95th percentile", duration(times.p95)),
    big("pages per minute", data.pages_per_minute == null ? "–" : rounded(data.pages_per_minute)),
  ]);
  fill(byStatus, [counts, windowStart()?.slice(0, 15)], () => el("ul.by-status", null, STATUSES.map((status) =>
    el("li", null, el("a", { href: jobsPath({ status }) }, statusChip(status), " ", el("strong", null, count(counts[status])))))));
  fill(errors, [data.errors, data.other_errors], () => data.errors.length === 0
    ? el("p.muted", null, "No job has failed in this window.")
    : [el("ol.patterns", null, data.errors.map((one) => el("li", null,
        el("span.number", null, `${count(one.count)} ×`), el("a.pattern", { href: `/jobs/${one.job_id}`, title: "Show the last such job" }, own(one.pattern))))),
      data.other_errors > 0 && el("p.muted", null, `and ${count(data.other_errors)} with other texts`)]);
  const use = [
    ["memory", data.resources.memory_mb, (value) => `${count(Math.round(value))} MB`],
    ["CPU", data.resources.cpu_percent, (value) => `${count(Math.round(value))} %`],
    ["network latency", data.resources.network_latency_ms, (value) => duration(value / 1000)],
  ];
  fill(resources, data.resources, () => el("table.plain", null,
    el("thead", null, el("tr", null, el("th", { scope: "col" }, "Resource"), el("th.number", { scope: "col" }, "Mean"), el("th.number", { scope: "col" }, "Peak"))),
    el("tbody", null, use.map(([name, { mean, peak }, format]) => el("tr", null, el("th", { scope: "row" }, name),
      el("td.number", null, mean == null ? "–" : format(mean)), el("td.number", null, peak == null ? "–" : format(peak)))))));
}

function showGroups(name, data) {
  const shown = data.groups.slice(0, SHOWN_GROUPS);
  const most = Math.max(1, ...shown.map((group) => group.total));
  const link = (group, status, value) => el("a", { href: jobsPath({ [name]: group.key, status }) }, value);
  fill(groups[name], shown, () => shown.length === 0 ? el("p.muted", null, "No jobs in this window.") : el("div.scroll", null, el("table.plain.groups", null,
    el("thead", null, el("tr", null, [name === "domain" ? "Domain" : "Type", "Jobs", "Success", "Median", "p95"].map((text, index) => el(index ? "th.number" : "th", { scope: "col" }, text)))),
    el("tbody", null, shown.map((group) => {
      const share = el("span.share", { "aria-hidden": "true" });
      share.style.width = `${(group.total / most) * 100}%`;
      return el("tr", null,
        el("th", { scope: "row" }, link(group, null, own(group.key)), share),
        el("td.number", null, link(group, null, count(group.total))),
        el("td.number", null, link(group, "completed", percent(group.success_rate))),
        el("td.number", null, duration(group.completion_seconds.p50)),
        el("td.number", null, duration(group.completion_seconds.p95)));
    })))));
}

/** Reads the figures again and again, more rarely where that is costly. */
async function keepReading() {
  const start = Date.now();
  await refresh();
  setTimeout(keepReading, Math.max(REFRESH_MS, COST * (Date.now() - start)));
}

async function refresh() {
  if (document.hidden) return;
  const from = windowStart();
  const ask = (more) => call(`/api/scrape-jobs/stats${queryOf({ ...kept, from, ...more })}`);
  try {
    const [domains, types, times] = await Promise.all([
      ask({ group_by: "domain" }), ask({ group_by: "job_type" }), ask({ group_by: unit, timezone: zone() })]);
    showFigures(domains.data);
    showGroups("domain", domains.data);
    showGroups("job_type", types.data);
    charts.ended.set(times.data.groups, (one) => [one.by_status.completed + one.by_status.failed, one.by_status.failed]);
    charts.rate.set(times.data.groups, (one) => [one.success_rate]);
    charts.times.set(times.data.groups, (one) => [one.completion_seconds.p50, one.completion_seconds.p95]);
    notice("statistics", null);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    notice("statistics", error.message);
  }
}

function start() {
  build();
  const first = firstAnswer("figures");
  if (first.success) showFigures(first.data);
  else notice("statistics", first.error);
  document.addEventListener("zone-changed", refresh);
  keepReading();
}

start();

// The queue: upcoming jobs and why each one waits, workers with their leases, domains at a limit.

import { ApiError, call, queryOf, unwrap } from "./api.js";
import { el, fill, keyed, own, setText, show } from "./dom.js";
import { count, setTime, shortId, time } from "./format.js";
import { firstAnswer } from "./page.js";
import { notice } from "./shell.js";

const REFRESH_MS = 5_000;
const EXPLAINED = 25;
const AT_ONCE = 4;
const SHOWN_LEASES = 8;
const FIELDS = "id,domain,job_type,status,priority,created_at,updated_at,scheduled_for,worker_id,lease_expires_at";

const pendingPath = `/api/scrape-jobs${queryOf({ status: "pending", sort: "priority", limit: EXPLAINED, fields: FIELDS })}`;
const recentPath = `/api/scrape-jobs${queryOf({ sort: "-updated_at", limit: 200, fields: FIELDS })}`;
const runningPath = `/api/scrape-jobs${queryOf({ status: "running", sort: "-updated_at", limit: 200, fields: FIELDS })}`;

const upcoming = el("tbody");
const upcomingTable = table(["Position", "Job", "Priority", "Created", "Why it waits"], upcoming);
const upcomingMore = el("p.muted");
const workers = el("tbody");
const workersTable = table(["Worker", "Last change", "Running jobs and their leases"], workers);
const workersNote = el("p.muted");
const limits = el("div");
const rows = { upcoming: new Map(), workers: new Map() };
const positions = new Map();

function table(headings, body) {
  return el("table.plain.cards", null, el("thead", null, el("tr", null, headings.map((name) => el("th", { scope: "col" }, name)))), body);
}

function build() {
  document.getElementById("queue").append(
    el("section", null, el("h2", null, "Upcoming jobs"), el("div", { id: "upcoming" }, upcomingTable, upcomingMore)),
    el("section", null, el("h2", null, "Domains at their limit"), limits),
    el("section", null, el("h2", null, "Workers"), el("div", { id: "workers" }, workersTable, workersNote)));
}

function showUpcoming({ data, pagination }) {
  keyed(upcoming, rows.upcoming, data, (job) => job.id, upcomingRow);
  show(upcomingTable, data.length > 0);
  setText(upcomingMore, data.length === 0 ? "No job is waiting." : pagination.has_more ? `The first ${EXPLAINED} by priority; more jobs wait.` : "");
}

function upcomingRow(job) {
  const position = el("td.number", { "data-label": "Position" });
  const reason = el("td.wrap", { "data-label": "Why it waits" });
  const element = el("tr", { "data-row": job.id },
    position,
    el("td.name", null, el("a", { href: `/jobs/${job.id}` }, own(job.domain)), el("span.under", null, own(job.job_type), " · ", el("code", { title: job.id }, shortId(job.id)))),
    el("td.number", { "data-label": "Priority" }, String(job.priority)),
    el("td", { "data-label": "Created" }, time(job.created_at, "ago")),
    reason);
  const update = () => {
    const found = positions.get(job.id);
    setText(position, found?.position == null ? "–" : `${found.position_is_exact ? "" : "≥ "}${count(found.position)}`);
    setText(reason, found ? found.reason : "…");
    element.classList.toggle("held", Boolean(found?.held_back_by));
  };
  update();
  return { element, update };
}

/** Asks why each job waits, a few at a time. */
async function explain(jobs) {
  const asked = [...jobs];
  const ask = async () => {
    for (let job = asked.shift(); job; job = asked.shift()) {
      try {
        positions.set(job.id, (await call(`/api/scrape-jobs/${job.id}/queue`)).data);
      } catch (error) {
        if (error.status !== 404) throw error; // removed meanwhile
      }
      rows.upcoming.get(job.id)?.update();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, ask));
}

function showLimits(jobs) {
  const held = jobs.map((job) => positions.get(job.id)?.held_back_by).filter(Boolean);
  const byDomain = new Map(held.map((one) => [`${one.domain} ${one.limit} ${one.allowed}`, { ...one, waiting: 0 }]));
  for (const one of held) byDomain.get(`${one.domain} ${one.limit} ${one.allowed}`).waiting += 1;
  const all = [...byDomain.values()];
  fill(limits, all, () => all.length === 0
    ? el("p.muted", null, "No limit holds one of these jobs back.")
    : el("ul.limits", null, all.map((one) => el("li", null,
        el("a", { href: `/${queryOf({ domain: one.domain, status: "running" })}` }, own(one.domain)), " ",
        el("span", null, `${count(one.running)} of ${count(one.allowed)} running`), " ",
        el("span.muted", null, `${count(one.waiting)} of these jobs wait · limit: ${one.limit}`)))));
}

/** Shows the workers of the recently changed jobs; a running one has leases. */
function showWorkers(jobs) {
  const known = new Map();
  for (const job of new Map(jobs.map((one) => [one.id, one])).values()) {
    if (!job.worker_id) continue;
    const worker = known.get(job.worker_id) ?? { id: job.worker_id, at: "", running: [] };
    if (job.updated_at > worker.at) worker.at = job.updated_at;
    if (job.status === "running") worker.running.push(job);
    known.set(job.worker_id, worker);
  }
  const sorted = [...known.values()].sort((a, b) => (a.at < b.at ? 1 : -1));
  keyed(workers, rows.workers, sorted, (worker) => worker.id, workerRow);
  show(workersTable, sorted.length > 0);
  setText(workersNote, sorted.length ? "" : "No worker has taken a job recently.");
}

function workerRow(worker) {
  const seen = time(worker.at, "ago");
  const leases = el("td.wrap", { "data-label": "Running" });
  const update = (now) => {
    setTime(seen, now.at);
    fill(leases, now.running.map((job) => [job.id, job.lease_expires_at]), () => now.running.length === 0
      ? el("span.muted", null, "none")
      : el("ul.leases", null, now.running.slice(0, SHOWN_LEASES).map((job) => el("li", null,
          el("a", { href: `/jobs/${job.id}` }, own(job.domain)), " ",
          el("span.muted", null, job.lease_expires_at ? ["lease ends ", time(job.lease_expires_at, "ago")] : "without a lease"))),
        now.running.length > SHOWN_LEASES && el("li", null, el("a.muted", { href: "/?status=running" }, `and ${count(now.running.length - SHOWN_LEASES)} more`))));
  };
  update(worker);
  return { element: el("tr", { "data-row": worker.id }, el("td.name", null, own(worker.id)), el("td", { "data-label": "Last change" }, seen), leases), update };
}

let isReading = false;

async function refresh() {
  if (isReading || document.hidden) return;
  isReading = true;
  try {
    const [pending, running, recent] = await Promise.all([call(pendingPath), call(runningPath), call(recentPath)]);
    showUpcoming(pending);
    showWorkers([...running.data, ...recent.data]);
    await explain(pending.data);
    showLimits(pending.data);
    notice("queue", null);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    notice("queue", error.message);
  } finally {
    isReading = false;
  }
}

function start() {
  build();
  try {
    showUpcoming(unwrap(firstAnswer("pending")));
  } catch (error) {
    notice("queue", error.message);
  }
  refresh();
  setInterval(refresh, REFRESH_MS); // positions depend on the time, too, which no stream shows
}

start();

import { JobMonitor } from "scrape-jobs-client/react";
import { type ComponentType, version } from "react";
import { expect, inject, test, vi } from "vitest";
import { broken, notedFetch } from "../calls.js";
import { expectText, newJob, render, service, withManager } from "./page.js";

// Not type-checked: the example's `useState(null)` is no strict TypeScript.
const [example] = Object.values(
  import.meta.glob("../reference/job-monitor.tsx", { eager: true }),
) as {
  JobMonitor: typeof JobMonitor;
}[];

const RUNNING = { status: "running" } as const;
const STATS = {
  pagesProcessed: 45,
  totalPages: 150,
  dataExtracted: { products: 156, images: 234 },
};

function cancelButton(page: Element): HTMLButtonElement {
  return page.querySelector<HTMLButtonElement>("button.cancel-button")!;
}

test.for([
  ["pending", []],
  ["running", [RUNNING, { stats: STATS }]],
  ["completed", [RUNNING, { status: "completed", stats: STATS }]],
  ["failed", [RUNNING, { status: "failed", error_message: "<b>site</b> is down" }]],
  ["cancelled", [{ status: "cancelled" }]],
] as [string, Parameters<typeof newJob>][])(
  "a %s job looks as in the reference's component",
  async ([status, updates]) => {
    const { id } = await newJob(...updates);
    const [ours, theirs] = [JobMonitor, example!.JobMonitor].map(
      (Monitor: ComponentType<{ jobId: string }>) => render(<Monitor jobId={id} />),
    );
    await expectText(ours!, `Status: ${status}`);
    await expectText(theirs!, `Status: ${status}`);
    expect(ours!.innerHTML).toBe(theirs!.innerHTML);
  },
);

test("the page runs the React version of its project", () => {
  expect(version).toMatch(new RegExp(`^${inject("react")}\\.`));
});

test("the reference's own component runs as written", async () => {
  const { id } = await newJob(RUNNING, { stats: STATS });
  const statuses: string[] = [];
  const Monitor = example!.JobMonitor;
  const page = render(<Monitor jobId={id} onStatusChange={(status) => statuses.push(status)} />);
  await expectText(page, "30%45 / 150 pages");
  cancelButton(page).click();
  await expectText(page, "Error: Cancelled via API: User cancelled");
  expect(statuses[0]).toBe("running");
});

test("a monitor follows its job and reports each status once", async () => {
  const { id } = await newJob();
  const statuses: string[] = [];
  const page = render(<JobMonitor jobId={id} onStatusChange={(status) => statuses.push(status)} />);
  await expectText(page, "Status: pending");
  await service.updateJob(id, { status: "running", stats: STATS });
  await expectText(page, "30%45 / 150 pages");
  expect(page.querySelector<HTMLElement>(".progress-bar")!.style.width).toBe("30%");
  await service.updateJob(id, { status: "completed" });
  await expectText(page, "Status: completed");
  expect(statuses).toEqual(["pending", "running", "completed"]);
  expect(cancelButton(page)).toBeNull();
});

test("the button cancels the job, by the short answer too", async () => {
  const { id } = await newJob(RUNNING, { stats: STATS });
  // The service answers with the whole job; the reference's example answer has four fields.
  const shortened = notedFetch((call, send) =>
    call.method === "DELETE" ? send().then(shorten) : null,
  );
  const page = render(withManager({ fetch: shortened }, <JobMonitor jobId={id} />));
  await expectText(page, "Status: running");
  cancelButton(page).click();
  await expectText(page, "Status: cancelled");
  expect(page.textContent).toContain("Error: Cancelled via API: User cancelled");
  expect(page.textContent).toContain("products: 156");
});

test("a cancel that fails is shown beside the job", async () => {
  const { id } = await newJob(RUNNING);
  const fetch = notedFetch((call) => (call.method === "DELETE" ? broken() : null));
  const page = render(withManager({ fetch }, <JobMonitor jobId={id} />));
  await expectText(page, "Status: running");
  cancelButton(page).click();
  await expectText(page, "Failed to cancel job: No answer from the service");
  expect(page.textContent).toContain("Status: running");
  expect(cancelButton(page).disabled).toBe(false);
});

test.for([
  [
    { dataExtracted: { p: { total: 156, kinds: ["Shoes"] } } },
    'p: {"kinds":["Shoes"],"total":156}',
  ],
  [{ dataExtracted: { none: null, ok: true } }, "ok: truenone: null"],
  [{ dataExtracted: "much" }, "data: much"],
  [{ dataExtracted: ["a", "b"] }, "0: a1: b"],
  [{ pagesProcessed: 45 }, "0%45 pages"],
  [{ pagesProcessed: 45, totalPages: "many" }, "0%45 pages"],
  [{ totalPages: 10 }, "0%0 / 10 pages"],
  [{ pagesProcessed: 30, totalPages: 10 }, "100%30 / 10 pages"],
  [{}, "0%0 pages"],
] as const)("stats of any form are shown: %j", async ([stats, text]) => {
  const { id } = await newJob(RUNNING, { stats });
  await expectText(render(<JobMonitor jobId={id} />), text);
});

test("a slow service, an unknown job and a dead service are shown", async () => {
  const slow = render(
    withManager({ fetch: () => new Promise(() => {}) }, <JobMonitor jobId="1" />),
  );
  await expectText(slow, "Loading job details...");
  const unknown = render(<JobMonitor jobId="0190f3a0-0000-7000-8000-000000000000" />);
  await expectText(unknown, "Error: Job not found");
  const dead = render(withManager({ fetch: notedFetch(broken) }, <JobMonitor jobId="1" />));
  await expectText(dead, "Error: No answer from the service");
});

test("a page of another origin watches a job with a key", async () => {
  const { id } = await newJob();
  const options = { baseUrl: inject("url"), key: inject("key"), fetch: notedFetch() };
  const page = render(withManager(options, <JobMonitor jobId={id} />));
  await expectText(page, "Status: pending");
  await vi.waitUntil(() =>
    options.fetch.calls.some((call) => call.url.pathname.endsWith("/events")),
  );
  await service.updateJob(id, RUNNING);
  await expectText(page, "Status: running");
  cancelButton(page).click();
  await expectText(page, "Status: cancelled");
});

/** Return the answer of a cancel with the fields of the reference's example alone. */
async function shorten(response: Response): Promise<Response> {
  const { success, message, data } = await response.json();
  const { id, status, error_message, completed_at } = data;
  return Response.json({ success, message, data: { id, status, error_message, completed_at } });
}

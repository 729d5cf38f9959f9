import { createScrapeJobManager, ScrapeJobError, scrapeJobManager } from "scrape-jobs-client";
import { expect, test } from "vitest";

const UNKNOWN = "0190f3a0-0000-7000-8000-000000000000";

const unique = () => `${crypto.randomUUID()}.example.com`;

test("a job is created, read, updated and cancelled", async () => {
  const created = await scrapeJobManager.createJob({
    domain: "Example.com",
    priority: 7,
    config: { depth: 3 },
  });
  expect(created).toMatchObject({ domain: "example.com", priority: 7, config: { depth: 3 } });
  expect(await scrapeJobManager.getJob(created.id)).toEqual(created);

  const stats = { pagesProcessed: 1, totalPages: 4 };
  await scrapeJobManager.updateJob(created.id, { status: "running", metadata: { by: "test" } });
  const updated = await scrapeJobManager.updateJob(created.id, { stats, error_message: null });
  expect(updated).toMatchObject({ status: "running", stats, metadata: { by: "test" } });

  const cancelled = await scrapeJobManager.cancelJob(created.id, "No longer needed");
  expect(cancelled.status).toBe("cancelled");
  expect(cancelled.error_message).toBe("Cancelled via API: No longer needed");
});

test("a failed job is retried", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  await scrapeJobManager.updateJob(id, { status: "running" });
  await scrapeJobManager.updateJob(id, { status: "failed", error_message: "site is down" });
  const retried = await scrapeJobManager.retryJob(id, { delay_seconds: 60 });
  expect(retried).toMatchObject({ status: "pending", retry_count: 1, error_message: null });
  expect(retried.scheduled_for).not.toBeNull();
});

test("a list goes over all pages, up to its limit", async () => {
  const domain = unique();
  const ids: string[] = [];
  for (let priority = 1; priority <= 5; priority += 1) {
    ids.unshift((await scrapeJobManager.createJob({ domain, priority })).id);
  }
  const listed = async (options: object) => {
    const jobs = [];
    for await (const job of scrapeJobManager.listJobs({ domain, pageSize: 2, ...options })) {
      jobs.push(job.id);
    }
    return jobs;
  };
  expect(await listed({})).toEqual(ids);
  expect(await listed({ limit: 3 })).toEqual(ids.slice(0, 3));
  expect(await listed({ limit: 0 })).toEqual([]);
  expect(await listed({ status: ["running", "failed"] })).toEqual([]);

  const page = await scrapeJobManager.listPage({ domain, status: "pending", pageSize: 4 });
  expect(page).toMatchObject({ hasMore: true, nextCursor: expect.any(String) });
  const next = await scrapeJobManager.listPage({ domain, cursor: page.nextCursor });
  expect([...page.jobs, ...next.jobs].map((job) => job.id)).toEqual(ids);
});

test("an unknown job is null for getJob, and a failure for changes", async () => {
  expect(await scrapeJobManager.getJob(UNKNOWN)).toBeNull();
  const changes = [
    () => scrapeJobManager.updateJob(UNKNOWN, { stats: {} }),
    () => scrapeJobManager.cancelJob(UNKNOWN),
    () => scrapeJobManager.retryJob(UNKNOWN),
  ];
  for (const change of changes) {
    await expect(change()).rejects.toMatchObject({ status: 404, error: "Job not found" });
  }
  await expect(scrapeJobManager.getJob("..")).rejects.toThrow(TypeError);
});

test("a refusal has the answer's status, error, details and request id", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  await scrapeJobManager.cancelJob(id);
  const refusal = await scrapeJobManager.cancelJob(id).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(ScrapeJobError);
  expect(refusal).toMatchObject({
    status: 409,
    error: "Job not found or cannot be cancelled",
    details: "Job is already cancelled",
    requestId: expect.stringMatching(/.+/),
    attempts: 1,
  });
  await expect(scrapeJobManager.updateJob(id, { status: "running" })).rejects.toThrow(
    "400 Cannot transition from 'cancelled' to 'running' [request ",
  );
});

test("a manager has its own address and key", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  const options = { baseUrl: `${process.env["SCRAPE_JOBS_URL"]}/`, retry: { attempts: 1 } };
  expect((await createScrapeJobManager(options).getJob(id))?.id).toBe(id);
  await expect(
    createScrapeJobManager({ ...options, key: "sj_wrong" }).getJob(id),
  ).rejects.toMatchObject({ status: 401, error: "Not authenticated" });
  await expect(
    createScrapeJobManager({ ...options, baseUrl: "http://127.0.0.1:1" }).getJob(id),
  ).rejects.toMatchObject({ status: 0, error: "No answer from the service" });
});

test("an answer of another program is a failure", async () => {
  const page = async () => new Response("<html>", { status: 200 });
  await expect(createScrapeJobManager({ fetch: page }).getJob(UNKNOWN)).rejects.toMatchObject({
    status: 200,
    error: "Not an answer of the service",
  });
});

// The TypeScript examples of the API's reference, word for word but for the import path.

import { type Job, scrapeJobManager } from "scrape-jobs-client";
import { afterEach, expect, test, vi } from "vitest";

const EXAMPLE_ID = "123e4567-e89b-12d3-a456-426614174000";

afterEach(() => vi.restoreAllMocks());

/** Make calls for the example's job reach a job of the service, whose id the service chose. */
async function exampleJob(): Promise<Job> {
  const job = await scrapeJobManager.createJob({ domain: "example.com" });
  const send = globalThis.fetch;
  vi.spyOn(globalThis, "fetch").mockImplementation((url, init) =>
    send(String(url).replace(EXAMPLE_ID, job.id), init),
  );
  return job;
}

test("the example reads a job", async () => {
  const { id } = await exampleJob();
  const stats = { pagesProcessed: 45, totalPages: 150 };
  await scrapeJobManager.updateJob(id, { status: "running", stats });
  const log = vi.spyOn(console, "log").mockImplementation(() => undefined);
  await import("./reference/get.js");
  expect(log.mock.calls).toEqual([[`Job ${id} status: running`], ["Progress: 45/150"]]);
});

test("the examples update and complete a job", async () => {
  const { id } = await exampleJob();
  await import("./reference/update.js");
  expect(await scrapeJobManager.getJob(id)).toMatchObject({
    status: "running",
    stats: { pagesProcessed: 25, successfulRequests: 24, failedRequests: 1 },
  });
  await import("./reference/complete.js");
  expect(await scrapeJobManager.getJob(id)).toMatchObject({
    status: "completed",
    stats: { totalProcessingTime: 180000, dataExtracted: { products: 156, images: 234 } },
  });
});

test("the example cancels a job", async () => {
  const { id } = await exampleJob();
  await import("./reference/cancel.js");
  expect(await scrapeJobManager.getJob(id)).toMatchObject({
    status: "cancelled",
    error_message: "Cancelled via API: Job taking too long, cancelling to free resources",
  });
});

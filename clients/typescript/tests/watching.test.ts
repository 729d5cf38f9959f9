import { createScrapeJobManager, type Job, scrapeJobManager } from "scrape-jobs-client";
import { expect, test } from "vitest";
import { broken, failure, notedFetch, type SentCall } from "./calls.js";

const retry = { attempts: 1 };
const isStream = (call: SentCall) => call.url.pathname.endsWith("/events");

/** The changes of a job that the tests make, each after the one before was seen. */
const CHANGES = [
  { status: "running" },
  { stats: { pagesProcessed: 1 } },
  { status: "completed", stats: { pagesProcessed: 2 } },
] as const;

const seen = (job: Job) => `${job.status} ${job.stats["pagesProcessed"] ?? "-"}`;
const ALL = ["pending -", "running -", "running 1", "completed 2"];

/** Watch a job, and change it whenever the watch has shown the state before. */
async function watchAndChange(watch: AsyncGenerator<Job>, id: string): Promise<string[]> {
  const states: string[] = [];
  const changes = [...CHANGES];
  for await (const job of watch) {
    states.push(seen(job));
    const change = changes.shift();
    if (change) await scrapeJobManager.updateJob(id, change);
  }
  return states;
}

test("a watch shows each change from the stream, until the job is final", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  const fetch = notedFetch();
  const watch = createScrapeJobManager({ fetch }).watchJob(id);
  expect(await watchAndChange(watch, id)).toEqual(ALL);
  expect(fetch.calls.filter(isStream)).toHaveLength(1);
});

test("a stream that breaks is resumed at its position", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  const fetch = notedFetch((call, send) => (isStream(call) ? send().then(cutAfterJob) : null));
  const watch = createScrapeJobManager({ fetch, retry }).watchJob(id, { pollMs: 10 });
  expect(await watchAndChange(watch, id)).toEqual(ALL);
  const positions = fetch.calls
    .filter(isStream)
    .map((call) => call.url.searchParams.get("last_event_id"));
  expect(positions.length).toBeGreaterThan(1);
  expect(positions[0]).toBeNull();
  expect(positions.slice(1).every(Boolean)).toBe(true);
});

test("without a stream a watch polls with the ETag", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  const statuses: number[] = [];
  const refused = failure(503, "Too many event streams", { "Retry-After": "30" });
  const fetch = notedFetch((call, send) =>
    isStream(call)
      ? Promise.resolve(refused())
      : send().then((response) => {
          statuses.push(response.status);
          return response;
        }),
  );
  const watch = createScrapeJobManager({ fetch, retry }).watchJob(id, { pollMs: 50 });
  setTimeout(() => scrapeJobManager.updateJob(id, { status: "running" }), 300);
  const states: string[] = [];
  for await (const job of watch) {
    states.push(seen(job));
    if (job.status === "running") await scrapeJobManager.cancelJob(id);
  }
  expect(states).toEqual(["pending -", "running -", "cancelled -"]);
  expect(fetch.calls.filter(isStream)).toHaveLength(1); // Retry-After is obeyed
  expect(statuses).toContain(304);
});

test("a watch survives an outage, and names it", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  let isDown = false;
  const fetch = notedFetch(() => (isDown ? broken() : null));
  const errors: string[] = [];
  const watch = createScrapeJobManager({ fetch, retry }).watchJob(id, {
    pollMs: 10,
    stream: false,
    onError: (error) => {
      errors.push(error.error);
      isDown = errors.length < 3;
    },
  });
  expect((await watch.next()).value?.status).toBe("pending");
  isDown = true;
  // The job did not change, but is shown again: the outage is over.
  expect((await watch.next()).value?.status).toBe("pending");
  expect(errors).toEqual(Array(3).fill("No answer from the service"));
  await watch.return();
});

test("a watch of an unknown job fails, and a signal ends a watch", async () => {
  await expect(
    scrapeJobManager.watchJob("0190f3a0-0000-7000-8000-000000000000").next(),
  ).rejects.toMatchObject({ status: 404, error: "Job not found" });

  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  const controller = new AbortController();
  const watch = scrapeJobManager.watchJob(id, { signal: controller.signal });
  await watch.next();
  const next = watch.next();
  setTimeout(() => controller.abort(), 50);
  await expect(next).rejects.toMatchObject({ name: "AbortError" });
});

/** Return the answer with a stream that breaks after its first frame of a job. */
function cutAfterJob(response: Response): Response {
  let text = "";
  const decoder = new TextDecoder();
  const cut = new TransformStream<Uint8Array, Uint8Array>({
    transform(part, controller) {
      text += decoder.decode(part, { stream: true });
      controller.enqueue(part);
      if (/event: job\n(.+\n)*\n/.test(text)) controller.error(new TypeError("terminated"));
    },
  });
  return new Response(response.body?.pipeThrough(cut), response);
}

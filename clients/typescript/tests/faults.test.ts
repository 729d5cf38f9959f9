import { createScrapeJobManager, scrapeJobManager } from "scrape-jobs-client";
import { expect, test } from "vitest";
import { broken, failure, first, notedFetch } from "./calls.js";

const retry = { baseMs: 1, maxMs: 5 };

/** Return a domain, and the number of jobs that it has. */
function ownDomain() {
  const domain = `${crypto.randomUUID()}.example.com`;
  const count = async () => (await scrapeJobManager.listPage({ domain })).jobs.length;
  return { domain, count };
}

test("a call survives every failure that may pass", async () => {
  const { domain, count } = ownDomain();
  const fetch = notedFetch(
    first(
      broken,
      failure(500, "Failed to create scrape job"),
      () => new Response("Bad Gateway", { status: 502 }),
      failure(503, "Service is stopping"),
      failure(429, "Too many requests"),
    ),
  );
  await createScrapeJobManager({ fetch, retry }).createJob({ domain });
  expect(fetch.calls).toHaveLength(6);
  expect(new Set(fetch.calls.map((call) => call.headers["Idempotency-Key"])).size).toBe(1);
  expect(await count()).toBe(1);
});

test("a POST whose answer is lost has one effect", async () => {
  const { domain, count } = ownDomain();
  let lost = 0;
  const fetch = notedFetch((_call, send) => (lost++ < 2 ? send().then(broken) : null));
  const manager = createScrapeJobManager({ fetch, retry });
  await manager.createJob({ domain });
  expect([await count(), fetch.calls.length]).toEqual([1, 3]);

  await manager.createJob({ domain });
  expect(await count()).toBe(2); // each call has a key of its own
  const again = { idempotencyKey: crypto.randomUUID() };
  const [one, other] = [
    await manager.createJob({ domain }, again),
    await manager.createJob({ domain }, again),
  ];
  expect(one.id).toBe(other.id);
});

test("a cancel whose answer is lost succeeds", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  let lost = false;
  const fetch = notedFetch((_call, send) => (lost ? null : ((lost = true), send().then(broken))));
  const job = await createScrapeJobManager({ fetch, retry }).cancelJob(id, "too slow");
  expect(job).toMatchObject({
    status: "cancelled",
    error_message: "Cancelled via API: too slow",
  });
});

test("the attempts end, and lasting refusals are not repeated", async () => {
  const dead = notedFetch(broken);
  const manager = createScrapeJobManager({ fetch: dead, retry: { ...retry, attempts: 3 } });
  await expect(manager.createJob({ domain: "example.com" })).rejects.toMatchObject({
    status: 0,
    error: "No answer from the service",
    details: "fetch failed",
    attempts: 3,
  });
  expect(dead.calls).toHaveLength(3);

  const fetch = notedFetch();
  await expect(
    createScrapeJobManager({ fetch, retry }).createJob({ domain: "no domain" }),
  ).rejects.toMatchObject({ status: 400 });
  expect(fetch.calls).toHaveLength(1);
});

test("Retry-After sets the pause, within its bound", async () => {
  const { domain } = ownDomain();
  const started = Date.now();
  const soon = notedFetch(first(failure(429, "Too many requests", { "Retry-After": "1" })));
  await createScrapeJobManager({ fetch: soon, retry }).createJob({ domain });
  expect(Date.now() - started).toBeGreaterThan(990);

  const late = notedFetch(first(failure(503, "Out of order", { "Retry-After": "3600" })));
  await expect(
    createScrapeJobManager({ fetch: late, retry }).createJob({ domain }),
  ).rejects.toMatchObject({ status: 503, retryAfterMs: 3_600_000 });
});

test("a signal ends a call and its pauses", async () => {
  const manager = createScrapeJobManager({
    fetch: notedFetch(broken),
    retry: { baseMs: 1e6, maxMs: 1e6 },
  });
  const reason = new Error("no longer needed");
  const controller = new AbortController();
  const call = manager.getJob("1", { signal: controller.signal });
  setTimeout(() => controller.abort(reason), 20);
  await expect(call).rejects.toBe(reason);
});

test("an attempt that takes too long is repeated", async () => {
  const { id } = await scrapeJobManager.createJob({ domain: "example.com" });
  let isFirst = true;
  const hanging = (_url: string, { signal }: RequestInit) =>
    new Promise<Response>((_resolve, reject) =>
      signal?.addEventListener("abort", () => reject(signal.reason)),
    );
  const manager = createScrapeJobManager({
    fetch: (url, init) => (isFirst ? ((isFirst = false), hanging(url, init)) : fetch(url, init)),
    retry,
    timeoutMs: 2000,
  });
  expect((await manager.getJob(id))?.id).toBe(id);
});

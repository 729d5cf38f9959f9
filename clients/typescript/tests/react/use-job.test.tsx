import { useState } from "react";
import type { Fetch } from "scrape-jobs-client";
import { useJob, type UseJob } from "scrape-jobs-client/react";
import { expect, onTestFinished, test } from "vitest";
import { broken, notedFetch, type SentCall } from "../calls.js";
import { expectText, newJob, render, service, withManager } from "./page.js";

const isStream = (call: SentCall) => call.url.pathname.endsWith("/events");

/** Shows what the hook returns, and passes it to `use`. */
function Shown({ jobId, use }: { jobId: string; use?: (hook: UseJob) => void }) {
  const hook = useJob(jobId);
  use?.(hook);
  const { job, error, loading } = hook;
  return <p>{`[${loading ? "loading" : (job?.status ?? "none")}|${error?.message ?? "ok"}]`}</p>;
}

/** Make the page hidden or visible, as a change of tabs does. */
function hide(hidden: boolean): void {
  Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}

test("components share one stream, which ends with the job", async () => {
  const { id } = await newJob();
  const fetch = notedFetch();
  const page = render(
    withManager(
      { fetch },
      [1, 2, 3].map((n) => <Shown key={n} jobId={id} />),
    ),
  );
  await expectText(page, "[pending|ok][pending|ok][pending|ok]");
  await service.updateJob(id, { status: "running" });
  await expectText(page, "[running|ok][running|ok][running|ok]");
  expect(fetch.calls.filter(isStream)).toHaveLength(1);
  await service.updateJob(id, { status: "completed" });
  await expectText(page, "[completed|ok][completed|ok][completed|ok]");

  const calls = fetch.calls.length;
  hide(true);
  hide(false);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(fetch.calls).toHaveLength(calls); // nothing is asked about a final job
});

test("a page keeps connections free: at most two jobs have a stream", async () => {
  const jobs = await Promise.all([newJob(), newJob(), newJob(), newJob()]);
  const fetch = notedFetch();
  const page = render(
    withManager(
      { fetch },
      jobs.map(({ id }) => <Shown key={id} jobId={id} />),
    ),
  );
  await expectText(page, "[pending|ok]".repeat(4));
  await service.cancelJob(jobs[3]!.id);
  await expectText(page, "[cancelled|ok]"); // by polling
  expect(fetch.calls.filter(isStream)).toHaveLength(2);
});

test("a hidden page has no stream, and asks at once when it is shown", async () => {
  const { id } = await newJob();
  onTestFinished(() => hide(false));
  hide(true);
  const fetch = notedFetch();
  const page = render(withManager({ fetch }, <Shown jobId={id} />));
  await expectText(page, "[pending|ok]");
  await service.updateJob(id, { status: "running" });
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(fetch.calls).toHaveLength(1);
  hide(false);
  await expectText(page, "[running|ok]");
  await expect.poll(() => fetch.calls.filter(isStream).length).toBe(1);
});

test("an error is cleared by the next success", async () => {
  const { id } = await newJob();
  let isDown = true;
  let hook: UseJob | undefined;
  const fetch: Fetch = notedFetch(() => (isDown ? broken() : null));
  const page = render(withManager({ fetch }, <Shown jobId={id} use={(now) => (hook = now)} />));
  await expectText(page, "[none|No answer from the service (fetch failed)]");
  isDown = false;
  hook?.refresh();
  await expectText(page, "[pending|ok]");
});

test("a refresh follows a job that was retried", async () => {
  const { id } = await newJob({ status: "running" }, { status: "failed" });
  let hook: UseJob | undefined;
  const page = render(withManager({}, <Shown jobId={id} use={(now) => (hook = now)} />));
  await expectText(page, "[failed|ok]");
  await service.retryJob(id);
  hook?.refresh();
  await expectText(page, "[pending|ok]");
  await hook?.cancel("enough");
  await expectText(page, "[cancelled|ok]");
  expect((await service.getJob(id))?.error_message).toBe("Cancelled via API: enough");
});

test("a component that changes its job shows no state of the old one", async () => {
  const [one, other] = [await newJob(), await newJob({ status: "running" })];
  let show: (id: string) => void = () => undefined;
  const page = render(
    withManager({}, <Switching start={one.id} use={(change) => (show = change)} />),
  );
  await expectText(page, "[pending|ok]");
  show(other.id);
  await expectText(page, "[running|ok]");
  expect(page.textContent).not.toContain("pending");
});

function Switching({ start, use }: { start: string; use: (show: (id: string) => void) => void }) {
  const [id, setId] = useState(start);
  use(setId);
  return <Shown jobId={id} />;
}

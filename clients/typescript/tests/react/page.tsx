import { createScrapeJobManager, type Job, type ManagerOptions } from "scrape-jobs-client";
import { ScrapeJobsProvider } from "scrape-jobs-client/react";
import { type ReactNode, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { expect, inject, onTestFinished } from "vitest";

declare module "vitest" {
  interface ProvidedContext {
    url: string;
    key: string;
    react: string;
  }
}

/** The service as another program calls it, beside the page. */
export const service = createScrapeJobManager({ baseUrl: inject("url"), key: inject("key") });

/** Create a job, and bring it into a state by updates. */
export async function newJob(...updates: Parameters<typeof service.updateJob>[1][]): Promise<Job> {
  let job = await service.createJob({ domain: "example.com", priority: 7 });
  for (const fields of updates) job = await service.updateJob(job.id, fields);
  return job;
}

/** Render `node` in strict mode, and return its element; the end of the test removes it. */
export function render(node: ReactNode): HTMLElement {
  const element = document.body.appendChild(document.createElement("div"));
  const root = createRoot(element);
  root.render(<StrictMode>{node}</StrictMode>);
  onTestFinished(() => {
    root.unmount();
    element.remove();
  });
  return element;
}

/** Return `node` with a manager of its own, which no other test shares. */
export function withManager(options: ManagerOptions, node: ReactNode): ReactNode {
  const manager = createScrapeJobManager({ retry: { attempts: 1 }, ...options });
  return <ScrapeJobsProvider manager={manager}>{node}</ScrapeJobsProvider>;
}

/** Expect that `element` shows `text` soon. */
export async function expectText(element: Element, text: string): Promise<void> {
  await expect.poll(() => element.textContent, { timeout: 20_000 }).toContain(text);
}

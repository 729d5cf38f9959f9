import type { ScrapeJobManager } from "../manager.js";
import { type JobState, LOADING, SharedJob } from "./shared-job.js";

const stores = new WeakMap<ScrapeJobManager, JobStore>();

/** Return the store of all components that use this manager. */
export function storeOf(manager: ScrapeJobManager): JobStore {
  const store = stores.get(manager) ?? new JobStore(manager);
  stores.set(manager, store);
  return store;
}

/** The jobs that components show, each watched once. */
class JobStore {
  readonly #jobs = new Map<string, SharedJob>();

  constructor(private readonly manager: ScrapeJobManager) {}

  /** Return what is known of a job. */
  state(id: string): JobState {
    return this.#jobs.get(id)?.state ?? LOADING;
  }

  /** Watch a job, and call `listener` after each change of its state. Return how to end that. */
  subscribe(id: string, listener: () => void): () => void {
    const shared = this.#jobs.get(id) ?? new SharedJob(this.manager, id);
    this.#jobs.set(id, shared);
    shared.listeners.add(listener);
    return () => {
      shared.listeners.delete(listener);
      // Strict mode, and a change of pages, subscribe again in a moment.
      setTimeout(() => this.#dropUnused(id, shared));
    };
  }

  /** Read a job again now. */
  refresh(id: string): void {
    this.#jobs.get(id)?.restart();
  }

  /** Cancel a job. */
  async cancel(id: string, reason?: string): Promise<void> {
    await (this.#jobs.get(id)?.cancel(reason) ?? this.manager.cancelJob(id, reason));
  }

  #dropUnused(id: string, shared: SharedJob): void {
    if (shared.listeners.size > 0 || this.#jobs.get(id) !== shared) return;
    this.#jobs.delete(id);
    shared.stop();
  }
}

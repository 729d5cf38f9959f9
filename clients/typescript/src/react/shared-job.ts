import type { ScrapeJobError } from "../errors.js";
import { isFinal, type Job } from "../jobs.js";
import type { ScrapeJobManager } from "../manager.js";

/** What a component knows of a job. */
export interface JobState {
  /** The job as it was read last; null before the first read, and if it does not exist. */
  job: Job | null;
  /** Why the last read failed; null after each success. */
  error: Error | null;
  /** Whether the first read is not over yet. */
  loading: boolean;
}

export const LOADING: JobState = { job: null, error: null, loading: true };

const POLL_MS = 5_000;
const HIDDEN_POLL_MS = 60_000;

/** A browser opens six connections to a server without HTTP/2, for all its tabs. */
const MAX_STREAMS = 2;

const streaming = new Set<SharedJob>();

/**
 * Watches one job for all components that show it.
 *
 * It reads the event stream of the job, or polls while the page has enough streams. While the page
 * is hidden it has no stream, and polls once a minute. It ends when the job is final.
 */
export class SharedJob {
  readonly listeners = new Set<() => void>();
  state: JobState = LOADING;
  #watch = new AbortController();

  constructor(
    private readonly manager: ScrapeJobManager,
    private readonly id: string,
  ) {
    document.addEventListener("visibilitychange", this.#adapt);
    void this.#run();
  }

  /** End the watch. */
  stop(): void {
    document.removeEventListener("visibilitychange", this.#adapt);
    this.#watch.abort();
    streaming.delete(this);
  }

  /** Read the job again now, and go on watching it. */
  restart(): void {
    this.#watch.abort();
    void this.#run();
  }

  /** Cancel the job. */
  async cancel(reason?: string): Promise<void> {
    const answer = await this.manager.cancelJob(this.id, reason);
    // A read that began before the cancel must not show its older state.
    this.#watch.abort();
    // The reference's own answer to a cancel is not the whole job.
    this.#set({ job: { ...this.state.job, ...answer }, error: null, loading: false });
  }

  #adapt = () => {
    if (!isFinal(this.state.job?.status ?? "")) this.restart();
  };

  async #run(): Promise<void> {
    const { signal } = (this.#watch = new AbortController());
    const { hidden } = document;
    const stream = !hidden && (streaming.has(this) || streaming.size < MAX_STREAMS);
    if (stream) streaming.add(this);
    else streaming.delete(this);
    try {
      const options = {
        signal,
        stream,
        pollMs: hidden ? HIDDEN_POLL_MS : POLL_MS,
        onError: (error: ScrapeJobError) => this.#set({ ...this.state, error, loading: false }),
      };
      for await (const job of this.manager.watchJob(this.id, options)) {
        if (signal.aborted) return; // it was read before the cancel or restart
        this.#set({ job, error: null, loading: false });
      }
    } catch (error) {
      if (!signal.aborted) this.#set({ job: null, error: error as Error, loading: false });
    } finally {
      if (signal === this.#watch.signal) streaming.delete(this); // no restart took its place
    }
  }

  #set(state: JobState): void {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}

import { ScrapeJobError } from "./errors.js";
import { readEvents } from "./events.js";
import { isFinal, type Job } from "./jobs.js";
import { mayPass, pause } from "./retrying.js";
import type { Transport } from "./transport.js";

export interface WatchOptions {
  /** Ends the watch: the loop fails with the reason of the signal. */
  signal?: AbortSignal | undefined;
  /** The mean pause between two polls while there is no stream; default 2,000. */
  pollMs?: number;
  /** False polls only; default true. */
  stream?: boolean;
  /** Is called with each failure after which the watch goes on. */
  onError?: (error: ScrapeJobError) => void;
}

const POLL_MS = 2_000;

/** A stream that sends nothing for this long is broken: the service sends a comment every 15 s. */
const SILENCE_MS = 40_000;

/** The pause after the service refused a stream without a Retry-After. */
const REFUSED_MS = 30_000;

/** Yield the job at `path` now and after each change, until it is final. */
export async function* watch(
  transport: Transport,
  path: string,
  options: WatchOptions = {},
): AsyncGenerator<Job, void, undefined> {
  const watcher = new Watcher(transport, path, options);
  for (;;) {
    for await (const job of watcher.changes()) {
      yield job;
      if (isFinal(job.status)) return;
    }
    // The jitter keeps clients from returning all at the same moment after a restart.
    await pause((options.pollMs ?? POLL_MS) * (0.75 + Math.random() / 2), options.signal);
  }
}

/** Reads the changes of one job, from the stream or by polling. */
class Watcher {
  #etag: string | undefined;
  #version = 0;
  #updatedAt = "";
  #shown = "";
  #position: string | undefined;
  #nextStream: number;

  constructor(
    private readonly transport: Transport,
    private readonly path: string,
    private readonly options: WatchOptions,
  ) {
    this.#nextStream = options.stream === false ? Infinity : 0;
  }

  /**
   * Yield changes until the stream ends; without a stream, at most one.
   *
   * The job is read before each stream begins, so that no change between two streams is missed.
   * Only this read decides whether the job exists and may be seen.
   */
  async *changes(): AsyncGenerator<Job> {
    yield* this.#poll();
    if (Date.now() < this.#nextStream) return;
    try {
      yield* this.#stream();
    } catch (error) {
      this.options.signal?.throwIfAborted();
      if (!(error instanceof ScrapeJobError)) return; // the connection broke
      this.#nextStream = Date.now() + (error.status ? (error.retryAfterMs ?? REFUSED_MS) : 0);
    }
  }

  async *#poll(): AsyncGenerator<Job> {
    const headers: Record<string, string> = this.#etag ? { "If-None-Match": this.#etag } : {};
    try {
      const { signal } = this.options;
      const { document, etag } = await this.transport.call("GET", this.path, {
        headers,
        signal,
      });
      if (!document) return; // not modified
      this.#etag = etag;
      yield* this.#unlessShown(document.data);
    } catch (error) {
      if (!mayPass(error)) throw error;
      this.#etag = undefined;
      this.#shown = ""; // after a failure the job is yielded again, changed or not
      this.options.onError?.(error);
    }
  }

  async *#stream(): AsyncGenerator<Job> {
    const silence = new AbortController();
    const { signal } = this.options;
    let alarm: ReturnType<typeof setTimeout> | undefined;
    const guard = () => {
      clearTimeout(alarm);
      alarm = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    try {
      guard();
      const body = await this.transport.stream(
        `${this.path}/events`,
        // As a parameter, because pages of other origins may not send the header Last-Event-ID.
        { last_event_id: this.#position },
        signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
      );
      for await (const event of readEvents(body, guard)) {
        this.#position = event.id ?? this.#position;
        if (event.type === "job") yield* this.#changed(JSON.parse(event.data));
        // What happened between the last read and the beginning of the stream is in no frame.
        else if (event.type === "ready" || event.type === "resync") yield* this.#poll();
      }
    } finally {
      clearTimeout(alarm);
    }
  }

  *#changed(frame: { version: number; job: Job }): Generator<Job> {
    // A resumed stream may repeat frames, and a new one may begin with older changes.
    if (frame.version <= this.#version || frame.job.updated_at < this.#updatedAt) return;
    this.#version = frame.version;
    this.#etag = undefined;
    yield* this.#unlessShown(frame.job);
  }

  *#unlessShown(job: Job): Generator<Job> {
    const text = JSON.stringify(job);
    if (text === this.#shown) return;
    this.#shown = text;
    this.#updatedAt = job.updated_at;
    yield job;
  }
}

import { ScrapeJobError } from "./errors.js";
import type { Job, JobFilter, NewJob, RetryOptions, UpdateScrapeJobOptions } from "./jobs.js";
import { DEFAULT_RETRY, type RetryPolicy } from "./retrying.js";
import { type Fetch, pathPart, type RequestParts, Transport } from "./transport.js";
import { watch, type WatchOptions } from "./watching.js";

export interface ManagerOptions {
  /**
   * The address of the service, such as `https://jobs.example.com`. Default: the variable
   * SCRAPE_JOBS_URL, in a browser the origin of the page, else `http://localhost:3000`.
   */
  baseUrl?: string;
  /** The API key. Default: the variable SCRAPE_JOBS_KEY; without both no key is sent. */
  key?: string;
  /** Sends the requests; default: the global `fetch`. */
  fetch?: Fetch;
  /** How long one attempt may take; default 30,000. */
  timeoutMs?: number;
  /** When calls are repeated; default: up to six attempts. */
  retry?: Partial<RetryPolicy>;
}

export interface CallOptions {
  /** Ends the call, which then fails with the reason of the signal. */
  signal?: AbortSignal | undefined;
}

export interface PostOptions extends CallOptions {
  /** Makes two calls with the same key have one effect; default: a new key for each call. */
  idempotencyKey?: string;
}

export interface PageOptions extends JobFilter, CallOptions {
  /** The number of jobs on a page, 1 to 200; default 50. */
  pageSize?: number;
  /** The `nextCursor` of the page before. */
  cursor?: string | undefined;
}

export interface ListOptions extends JobFilter, CallOptions {
  /** The maximum number of jobs in total; default: all. */
  limit?: number;
  /** The number of jobs to request at once, 1 to 200; default 50. */
  pageSize?: number;
}

export interface JobPage {
  jobs: Job[];
  hasMore: boolean;
  /** The cursor of the next page, if there is one. */
  nextCursor: string | undefined;
}

/** The operations on scrape jobs. Each fails with ScrapeJobError. */
export interface ScrapeJobManager {
  /** Return a job, or null if it does not exist. */
  getJob(id: string, options?: CallOptions): Promise<Job | null>;
  /** Change the given fields of a job: new stats replace the old ones, metadata is merged. */
  updateJob(id: string, fields: UpdateScrapeJobOptions, options?: CallOptions): Promise<Job>;
  /** Cancel a pending, running or failed job. */
  cancelJob(id: string, reason?: string, options?: CallOptions): Promise<Job>;
  /** Create a job. */
  createJob(fields: NewJob, options?: PostOptions): Promise<Job>;
  /** Return the jobs that match, over all pages. */
  listJobs(options?: ListOptions): AsyncGenerator<Job, void, undefined>;
  /** Return one page of the jobs that match. */
  listPage(options?: PageOptions): Promise<JobPage>;
  /** Make a failed job pending again. */
  retryJob(id: string, fields?: RetryOptions, options?: PostOptions): Promise<Job>;
  /**
   * Yield a job now and after each change, until it is completed, failed or cancelled.
   *
   * It reads the event stream of the service, and polls while there is none. After an interruption
   * it goes on where it ended. It fails if the job does not exist.
   */
  watchJob(id: string, options?: WatchOptions): AsyncGenerator<Job, void, undefined>;
}

const JOBS = "/api/scrape-jobs";
const LOCAL = "http://localhost:3000";
const TIMEOUT_MS = 30_000;
const PAGE_SIZE = 50;

/** Return a client of the service at one address, with one key. */
export function createScrapeJobManager(options: ManagerOptions = {}): ScrapeJobManager {
  const transport = new Transport({
    baseUrl: () => (options.baseUrl ?? defaultUrl()).replace(/\/+$/, ""),
    key: () => options.key ?? variable("SCRAPE_JOBS_KEY"),
    // Called as a global function, which browsers require, and looked up at each call.
    fetch: options.fetch ?? ((url, init) => fetch(url, init)),
    timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
    retry: { ...DEFAULT_RETRY, ...options.retry },
  });

  const data = async (method: string, path: string, parts?: RequestParts) =>
    (await transport.call(method, path, parts)).document.data;

  const getJob: ScrapeJobManager["getJob"] = async (id, { signal } = {}) => {
    try {
      return await data("GET", pathOf(id), { signal });
    } catch (error) {
      if (error instanceof ScrapeJobError && error.status === 404) return null;
      throw error;
    }
  };

  const listPage: ScrapeJobManager["listPage"] = async (options = {}) => {
    const { status, pageSize, signal, ...rest } = options;
    const statuses = typeof status === "object" ? status.join(",") : status;
    const query = { ...rest, status: statuses, limit: pageSize };
    const { document } = await transport.call("GET", JOBS, { query, signal });
    const { has_more: hasMore, next_cursor: nextCursor } = document.pagination;
    return { jobs: document.data, hasMore, nextCursor: nextCursor ?? undefined };
  };

  return {
    getJob,
    listPage,

    updateJob: async (id, fields, { signal } = {}) =>
      data("PUT", pathOf(id), { body: fields, signal }),

    async cancelJob(id, reason, { signal } = {}) {
      try {
        return await data("DELETE", pathOf(id), { query: { reason }, signal });
      } catch (error) {
        const job = wasDoneBefore(error) && (await getJob(id, { signal }));
        if (job) return job;
        throw error;
      }
    },

    createJob: async (fields, options) => data("POST", JOBS, post(fields, options)),

    retryJob: async (id, fields = {}, options = {}) =>
      data("POST", `${pathOf(id)}/retry`, post(fields, options)),

    async *listJobs({ limit = Infinity, pageSize = PAGE_SIZE, ...options } = {}) {
      let left = limit;
      let cursor: string | undefined;
      while (left > 0) {
        const page = await listPage({ ...options, pageSize: Math.min(pageSize, left), cursor });
        yield* page.jobs;
        left -= page.jobs.length;
        if (!page.hasMore) return;
        if (page.nextCursor === cursor) throw new ScrapeJobError(200, "The cursor is repeated");
        cursor = page.nextCursor;
      }
    },

    watchJob: (id, options) => watch(transport, pathOf(id), options),
  };
}

/** The operations on the jobs of the service that the environment names, or of the page's origin. */
export const scrapeJobManager = createScrapeJobManager();

function pathOf(id: string): string {
  return `${JOBS}/${pathPart(id)}`;
}

function post(body: object, { idempotencyKey, signal }: PostOptions = {}): RequestParts {
  return {
    body,
    signal,
    ...(idempotencyKey && { headers: { "Idempotency-Key": idempotencyKey } }),
  };
}

/** Return whether an attempt whose answer got lost has cancelled the job. */
function wasDoneBefore(error: unknown): boolean {
  return (
    error instanceof ScrapeJobError &&
    error.attempts > 1 &&
    error.status === 409 &&
    error.details === "Job is already cancelled"
  );
}

function defaultUrl(): string {
  return variable("SCRAPE_JOBS_URL") ?? globalThis.location?.origin ?? LOCAL;
}

/** Return a variable of the environment; browsers have none. */
function variable(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name] || undefined;
}

import { ScrapeJobError } from "./errors.js";
import { type RetryPolicy, withRetries } from "./retrying.js";

/** A function with the signature of the global `fetch`. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface TransportOptions {
  /** Returns the address of the service, without a slash at its end. */
  baseUrl: () => string;
  /** Returns the API key, or undefined if the service runs without keys. */
  key: () => string | undefined;
  fetch: Fetch;
  /** How long one attempt may take. */
  timeoutMs: number;
  retry: RetryPolicy;
}

export type QueryValue = string | number | undefined;

/** The parts of a request that may be absent. */
export interface RequestParts {
  query?: Record<string, QueryValue>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

/** A successful answer; `document` is undefined for one without a body, such as 304. */
export interface Answer {
  // Its form is that of the OpenAPI document; each caller names it.
  document: any;
  etag: string | undefined;
}

const NOT_MODIFIED = 304;

/** Sends requests to the service and repeats those that failed for a moment. */
export class Transport {
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /**
   * Send a request and return the answer.
   *
   * A POST has an Idempotency-Key, so that its repetition has no second effect.
   *
   * @throws ScrapeJobError if the service refuses it or sends no answer; the reason of the signal
   *   if it is aborted.
   */
  async call(method: string, path: string, parts: RequestParts = {}): Promise<Answer> {
    const { signal } = parts;
    const headers = this.#headers("application/json", parts.headers);
    if (method === "POST") headers["Idempotency-Key"] ??= newKey();
    const init: RequestInit = { method, headers, cache: "no-store" };
    if (parts.body !== undefined) {
      headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(parts.body);
    }
    const url = this.#url(path, parts.query);
    return withRetries(() => this.#attempt(url, init, signal), this.#options.retry, signal);
  }

  /** Open a stream, once, and return its body. `signal` ends it. */
  async stream(
    path: string,
    query: Record<string, QueryValue>,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>> {
    const headers = this.#headers("text/event-stream");
    const response = await answered(signal, () =>
      this.#options.fetch(this.#url(path, query), { headers, cache: "no-store", signal }),
    );
    if (response.ok && response.body) return response.body;
    throw failure(response, parsed(await answered(signal, () => response.text())));
  }

  async #attempt(url: string, init: RequestInit, signal?: AbortSignal): Promise<Answer> {
    const timeout = AbortSignal.timeout(this.#options.timeoutMs);
    const either = signal ? AbortSignal.any([signal, timeout]) : timeout;
    const [response, text] = await answered(signal, async () => {
      const response = await this.#options.fetch(url, { ...init, signal: either });
      return [response, await response.text()] as const;
    });
    const document = parsed(text);
    if (response.status !== NOT_MODIFIED && !(response.ok && document?.["success"] === true)) {
      throw failure(response, document);
    }
    return { document, etag: response.headers.get("ETag") ?? undefined };
  }

  #url(path: string, query: Record<string, QueryValue> = {}): string {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const text = new URLSearchParams(given as [string, string][]).toString();
    return `${this.#options.baseUrl()}${path}${text && `?${text}`}`;
  }

  #headers(accept: string, given: Record<string, string> = {}): Record<string, string> {
    const key = this.#options.key();
    return { Accept: accept, ...given, ...(key && { Authorization: `Bearer ${key}` }) };
  }
}

/** Return `text` as one part of a path. */
export function pathPart(text: string): string {
  // A URL parser resolves dots as steps, which would address another resource.
  if (["", ".", ".."].includes(text)) throw new TypeError(`Not an id of a job: "${text}"`);
  return encodeURIComponent(text);
}

/** Make a step of a request; turn a failure of the network into a ScrapeJobError. */
async function answered<T>(signal: AbortSignal | undefined, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (cause) {
    signal?.throwIfAborted();
    const error = cause as Error & { cause?: Error };
    const details = error.cause?.message || error.message;
    throw new ScrapeJobError(0, "No answer from the service", { details, cause });
  }
}

/** Return the error of an answer; a proxy may have sent something else than the service's form. */
function failure(response: Response, document: Document | undefined): ScrapeJobError {
  const text = (name: string) => (document?.[name] == null ? undefined : String(document[name]));
  const fallback = response.ok ? "Not an answer of the service" : response.statusText;
  return new ScrapeJobError(response.status, text("error") ?? (fallback || "No details"), {
    details: text("details"),
    requestId: response.headers.get("X-Request-ID") ?? undefined,
    retryAfterMs: retryAfterMs(response.headers.get("Retry-After")),
  });
}

type Document = Record<string, unknown>;

function parsed(text: string): Document | undefined {
  try {
    const document: unknown = JSON.parse(text);
    return document !== null && typeof document === "object" ? (document as Document) : undefined;
  } catch {
    return undefined;
  }
}

/** Return the milliseconds of a Retry-After. Source: RFC 9110, section 10.2.3 (seconds or a date). */
function retryAfterMs(header: string | null): number | undefined {
  if (!header) return undefined;
  if (/^\d+$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** Return a new Idempotency-Key. Browsers have crypto.randomUUID on secure pages only. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

import { ScrapeJobError } from "./errors.js";

/** When a call is repeated. */
export interface RetryPolicy {
  /** The maximum number of attempts, the first included; 1 turns repetition off. */
  attempts: number;
  /** The upper bound of the first pause; it doubles with each further pause. */
  baseMs: number;
  /** The upper bound of every pause that the client chooses. */
  maxMs: number;
  /** The longest Retry-After that the client obeys; after a longer one it gives up. */
  maxRetryAfterMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 6,
  baseMs: 200,
  maxMs: 10_000,
  maxRetryAfterMs: 60_000,
};

const NO_ANSWER = 0;
const PASSING_STATUSES = new Set([NO_ANSWER, 429, 500, 502, 503, 504]);

/** Return whether the same call may succeed later. */
export function mayPass(error: unknown): error is ScrapeJobError {
  if (!(error instanceof ScrapeJobError)) return false;
  // The first request with this Idempotency-Key is still running.
  const isInUse = error.status === 409 && error.error.startsWith("Idempotency-Key is in use");
  return PASSING_STATUSES.has(error.status) || isInUse;
}

/**
 * Make a call until it succeeds or fails for good.
 *
 * The pauses have full jitter, so that clients do not return all at the same moment.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export async function withRetries<T>(
  call: () => Promise<T>,
  policy: RetryPolicy,
  signal?: AbortSignal,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (error instanceof ScrapeJobError) error.attempts = attempt;
      if (attempt >= policy.attempts || !mayPass(error)) throw error;
      const retryAfter = error.retryAfterMs ?? 0;
      if (retryAfter > policy.maxRetryAfterMs) throw error;
      const bound = Math.min(policy.maxMs, policy.baseMs * 2 ** (attempt - 1));
      await pause(retryAfter + Math.random() * bound, signal);
    }
  }
}

/** Wait; fail with the reason of `signal` as soon as it is aborted. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

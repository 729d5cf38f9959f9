/** What is known of a failed call, beside its status and its error. */
export interface FailureFacts {
  details?: string | undefined;
  requestId?: string | undefined;
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

/** A call that failed: the service refused it, or sent no answer. */
export class ScrapeJobError extends Error {
  override readonly name = "ScrapeJobError";
  /** The HTTP status; 0 without an answer. */
  readonly status: number;
  /** The `error` of the answer. */
  readonly error: string;
  /** The `details` of the answer, if it has any. */
  readonly details: string | undefined;
  /** The id of the request, which the log of the service contains. */
  readonly requestId: string | undefined;
  /** How long the service asks to wait before the next attempt. */
  readonly retryAfterMs: number | undefined;
  /** How many attempts the call took. */
  attempts = 1;

  constructor(status: number, error: string, facts: FailureFacts = {}) {
    const details = facts.details ? ` (${facts.details})` : "";
    const request = facts.requestId ? ` [request ${facts.requestId}]` : "";
    super(`${status ? `${status} ` : ""}${error}${details}${request}`, { cause: facts.cause });
    this.status = status;
    this.error = error;
    this.details = facts.details;
    this.requestId = facts.requestId;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

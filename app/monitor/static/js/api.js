// Calls of the public API, with the viewer's session.

/** A failure that the API reports, or a missing answer (status 0). */
export class ApiError extends Error {
  constructor(status, error, details, retryAfter) {
    super(details ? `${error}: ${details}` : error);
    this.status = status;
    this.error = error;
    this.details = details ?? null;
    this.retryAfter = retryAfter ?? null;
  }
}

/** Returns the parts of an answer's body. Throws ApiError if it reports a failure. */
export function unwrap(body, status = 200, retryAfter = null) {
  if (body.success) return body;
  throw new ApiError(status, body.error, body.details, retryAfter);
}

/**
 * Calls the API.
 *
 * @param {string} path The path and query.
 * @param {object} options method, body (JSON), etag (of the known state), signal.
 * @returns {Promise<object|null>} The body and its `etag`; null if the known state is current.
 */
export async function call(path, { method = "GET", body, etag, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (etag) headers["If-None-Match"] = etag;
  if (method === "POST") headers["Idempotency-Key"] = randomId();
  const request = { method, headers, signal, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) request.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service does not answer");
  }
  if (response.status === 304) return null;
  if (response.status === 401) signIn();
  const answer = await response.json().catch(() => ({ error: `Status ${response.status}` }));
  const found = unwrap(answer, response.status, retryAfter(response));
  return { ...found, etag: response.headers.get("ETag") };
}

/** Returns the seconds of the Retry-After header, or null. */
export function retryAfter(response) {
  const seconds = Number(response.headers.get("Retry-After"));
  return Number.isFinite(seconds) && seconds > 0 ? seconds : null;
}

/** Leads to the sign-in page, and from there back to this page. */
export function signIn() {
  const here = location.pathname + location.search;
  location.assign(`/sign-in?next=${encodeURIComponent(here)}`);
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID needs HTTPS
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns a query string of the values that are not empty. */
export function queryOf(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== "" && value != null);
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
}

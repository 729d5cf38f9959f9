import type { Fetch } from "scrape-jobs-client";

/** A request as the client sends it. */
export interface SentCall {
  method: string;
  url: URL;
  headers: Record<string, string>;
}

type Interference = (call: SentCall, send: () => Promise<Response>) => Promise<Response> | null;

/**
 * Return a `fetch` that notes each call and sends it to the real service.
 *
 * @param interfere - may replace the answer, as a broken network would; null lets the call pass.
 */
export function notedFetch(interfere: Interference = () => null): Fetch & { calls: SentCall[] } {
  const calls: SentCall[] = [];
  const noted = async (url: string, init: RequestInit) => {
    const call = {
      method: init.method ?? "GET",
      url: new URL(url),
      headers: init.headers as Record<string, string>,
    };
    calls.push(call);
    const send = () => fetch(url, init);
    return (await interfere(call, send)) ?? send();
  };
  return Object.assign(noted, { calls });
}

/** Return an interference that replaces the first answers, and lets the later calls pass. */
export function first(...answers: (() => Response)[]): Interference {
  const left = [...answers];
  return (_call, _send) => {
    const answer = left.shift();
    return answer ? Promise.resolve(answer()) : null;
  };
}

/** Return a failure in the form of the service. */
export function failure(status: number, error: string, headers: Record<string, string> = {}) {
  return () => Response.json({ success: false, error }, { status, headers });
}

/** Fail as `fetch` does when the connection breaks. */
export function broken(): never {
  throw new TypeError("fetch failed");
}

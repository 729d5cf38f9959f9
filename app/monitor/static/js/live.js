// The live connection of a page: a stream of events, with polling where no stream can be had.
//
// The stream is read with fetch: unlike EventSource it shows the status of a refusal, and tries
// again after one. A reconnect names the last event, so it misses nothing. While the page is
// hidden it has no connection, because browsers allow few of them to one site.

import { retryAfter, signIn } from "./api.js";

const SILENCE_MS = 40_000; // the service sends a comment every 15 s
const LASTING_MS = 5_000; // a stream that lasts less has failed
const POLL_MS = 5_000;
const STREAM_RETRY_SECONDS = 15;
const STOPPING_SECONDS = 1; // the Retry-After of a server that stops, and is back in a moment
const MAX_DELAY_MS = 15_000;
const POLLING = "No live stream is free: asks every 5 s";
const MAX_KNOWN = 20_000;

export class Live {
  /**
   * @param {object} options
   *   path: the path of the stream, with its query;
   *   onEvent: receives each event once, as the API sends it;
   *   refresh: reads the page's data again, and throws ApiError if it cannot;
   *   onState: receives {name, text}: name is connecting, live, polling or lost.
   */
  constructor({ path, onEvent, refresh, onState }) {
    Object.assign(this, { path, onEvent, refresh, onState });
    this.position = null;
    this.versions = new Map();
    this.failures = 0;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.abort?.abort();
      else this.wake?.();
    });
    addEventListener("online", () => this.wake?.());
    this.#run();
  }

  /** Notes a version of a job that the page shows already; events up to it are dropped. */
  isNew(id, version) {
    if (version <= (this.versions.get(id) ?? 0)) return false;
    if (this.versions.size >= MAX_KNOWN) this.versions.clear();
    this.versions.set(id, version);
    return true;
  }

  async #run() {
    this.#say("connecting", "Connecting");
    for (;;) {
      while (document.hidden) await this.#pause(60_000);
      const start = Date.now();
      let refusal = null;
      try {
        await this.#read();
      } catch (error) {
        refusal = error;
      }
      if (document.hidden) continue;
      if (refusal?.status === 401) return signIn();
      // The service ends each stream after some minutes; one that ends at once is a server that stops.
      if (Date.now() - start >= LASTING_MS) this.failures = 0;
      const wait = refusal?.status ? (refusal.retryAfter ?? STREAM_RETRY_SECONDS) : 0;
      if (wait > STOPPING_SECONDS) await this.#poll(wait);
      else if (refusal || this.failures || Date.now() - start < LASTING_MS) await this.#recover();
    }
  }

  /** Reads the stream until it ends. Throws {status, retryAfter} if the service refuses it. */
  async #read() {
    this.abort = new AbortController();
    const url = new URL(this.path, location.origin);
    if (this.position) url.searchParams.set("last_event_id", this.position);
    const response = await fetch(url, {
      headers: { Accept: "text/event-stream" },
      credentials: "same-origin",
      cache: "no-store",
      signal: this.abort.signal,
    });
    if (!response.ok) {
      throw { status: response.status, retryAfter: retryAfter(response) };
    }
    let alarm;
    const guard = () => {
      clearTimeout(alarm);
      alarm = setTimeout(() => this.abort.abort(), SILENCE_MS);
    };
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      let text = "";
      guard();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        guard();
        this.#say("live", "Live");
        text += value.replaceAll("\r\n", "\n");
        const frames = text.split("\n\n");
        text = frames.pop();
        for (const frame of frames) await this.#frame(frame);
      }
    } finally {
      clearTimeout(alarm);
    }
  }

  async #frame(text) {
    const fields = { event: "message", data: "" };
    for (const line of text.split("\n")) {
      if (!line || line.startsWith(":")) continue;
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      fields[name] = name === "data" && fields.data ? `${fields.data}\n${value}` : value;
    }
    // Changes between the page's data and the start of the stream are in neither.
    if (fields.event === "ready" || fields.event === "resync") await this.refresh();
    if (fields.event === "job") {
      const event = JSON.parse(fields.data);
      if (this.isNew(event.id, event.version)) this.onEvent(event);
    }
    if (fields.id) this.position = fields.id;
  }

  /** Polls for some seconds, because the service has no stream to give. */
  async #poll(seconds) {
    this.#say("polling", POLLING);
    const until = Date.now() + seconds * 1000;
    do {
      await this.#pause(Math.min(POLL_MS, until - Date.now()));
      if (document.hidden) return;
      try {
        await this.refresh();
        this.#say("polling", POLLING);
      } catch {
        return; // the next try of the stream finds out what is wrong
      }
    } while (Date.now() < until);
  }

  /** Waits before the next try, after the connection broke. */
  async #recover() {
    this.failures += 1;
    if (this.failures > 1) this.#say("lost", "Connection lost: trying again");
    const delay = Math.min(MAX_DELAY_MS, 250 * 2 ** this.failures);
    await this.#pause(delay * (0.75 + Math.random() / 2));
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, Math.max(0, milliseconds));
    });
  }

  #say(name, text) {
    if (this.state === name) return;
    this.state = name;
    this.onState({ name, text });
  }
}

/** One event of a stream. The stream can be resumed after `id`. */
export interface ServerSentEvent {
  type: string;
  data: string;
  id: string | undefined;
}

/**
 * Yield the events of a stream. An event that the end of the stream cuts off is dropped.
 *
 * Source: WHATWG HTML, section 9.2.6 (interpreting an event stream).
 *
 * @param onBytes - is called whenever bytes arrive, comments included.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  onBytes: () => void,
): AsyncGenerator<ServerSentEvent> {
  let type = "message";
  let data: string[] = [];
  let id: string | undefined;
  for await (const line of readLines(body, onBytes)) {
    if (line === "") {
      if (data.length > 0) yield { type, data: data.join("\n"), id };
      type = "message";
      data = [];
      continue;
    }
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line) as unknown as [string, string, string];
    if (name === "event") type = value;
    else if (name === "data") data.push(value);
    else if (name === "id") id = value;
  }
}

/** Yield the lines of a stream, which end with LF or CR LF. */
async function* readLines(
  body: ReadableStream<Uint8Array>,
  onBytes: () => void,
): AsyncGenerator<string> {
  // Not every browser iterates over a ReadableStream.
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield line.replace(/\r$/, "");
    }
  } finally {
    await reader.cancel().catch(() => undefined); // the stream may have failed already
  }
}

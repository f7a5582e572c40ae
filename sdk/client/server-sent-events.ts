/** One server-sent event; comments come as events without a type, for they show that the connection lives. */
export type ServerSentEvent = { event: string; data: string };

const MOST_PENDING_CHARS = 16_000_000;

function eventOf(block: string): ServerSentEvent {
  const fields = { event: "", data: [] as string[] };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") fields.event = value;
    if (name === "data") fields.data.push(value);
  }
  return { event: fields.event, data: fields.data.join("\n") };
}

/** The events of a `text/event-stream` body as they come. What is cut off in the middle of an event is left out. */
export async function* readServerSentEvents(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<ServerSentEvent, void, undefined> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      pending += decoder.decode(value, { stream: true }).replaceAll("\r", "");
      const blocks = pending.split("\n\n");
      pending = blocks.pop() ?? "";
      if (pending.length > MOST_PENDING_CHARS) throw new Error("An event is longer than allowed.");
      yield* blocks.map(eventOf);
    }
  } finally {
    // The reader may leave in the middle; the server then ends its answer, too.
    await reader.cancel().catch(() => undefined);
  }
}

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** A provider that answers at once and notes when the first byte of each request reached it. */
export type InstantProvider = {
  url: string;
  /** `performance.now()` of the first byte of the request that carries `bench-marker-<n>` in its body, by n. */
  arrivals: ReadonlyMap<string, number>;
  close(): Promise<void>;
};

/** What the provider would charge for, since its start. GET on any path answers it. */
export type ProviderMeter = { calls: number; inputTokens: number; outputTokens: number };

/** Events of a stream; the fewest are the six that any stream has. */
const LEAST_EVENTS = 6;
const MARKER = /bench-marker-(\d+)/;
const PACE = /bench-pace-(\d+)-ms/;
const DELAY = /bench-delay-(\d+)-ms/;
const OUTPUT = /bench-output-(\d+)-tokens/;
const INPUT_TOKENS = 10;
const usageOf = (outputTokens: number) => ({
  input_tokens: INPUT_TOKENS,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  output_tokens: outputTokens,
});
const usage = usageOf(2);
const message = { id: "msg_bench", type: "message", role: "assistant" };

/** The frames of a stream, one event each. */
function framesOf(model: string, events: number): string[] {
  const start = {
    ...message,
    model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { ...usage, output_tokens: 1 },
  };
  const delta: [string, object] = [
    "content_block_delta",
    { index: 0, delta: { type: "text_delta", text: "done " } },
  ];
  const all: [string, object][] = [
    ["message_start", { message: start }],
    ["content_block_start", { index: 0, content_block: { type: "text", text: "" } }],
    ...Array.from({ length: events - LEAST_EVENTS + 1 }, () => delta),
    ["content_block_stop", { index: 0 }],
    ["message_delta", { delta: { stop_reason: "end_turn", stop_sequence: null }, usage }],
    ["message_stop", {}],
  ];
  return all.map(
    ([type, data]) => `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`,
  );
}

/** Each event is a chunk of its own; all at once, or one every `paceMs`. */
async function sendStream(
  response: ServerResponse,
  stream: { frames: readonly string[]; paceMs: number },
): Promise<void> {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const [n, frame] of stream.frames.entries()) {
    if (n > 0 && stream.paceMs > 0) await delay(stream.paceMs);
    response.write(frame);
  }
  response.end();
}

/**
 * `events`: how many a stream has. A request steers its answer by words in its body: `bench-pace-<n>-ms` is the pause
 * between two events, `bench-delay-<n>-ms` the one before the answer, and `bench-output-<n>-tokens` the output of an
 * answer that is no stream.
 */
export async function startInstantProvider(
  options: { events?: number } = {},
): Promise<InstantProvider> {
  const arrivals = new Map<string, number>();
  const frames = new Map<string, string[]>();
  const meter: ProviderMeter = { calls: 0, inputTokens: 0, outputTokens: 0 };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const arrivedAt = performance.now();
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const marker = MARKER.exec(text)?.[1];
    if (marker !== undefined && !arrivals.has(marker)) arrivals.set(marker, arrivedAt);
    const { model, stream, ...asked } = JSON.parse(text) as {
      model: string;
      stream?: boolean;
      max_tokens: number;
    };
    const wish = Number(OUTPUT.exec(text)?.[1] ?? usage.output_tokens);
    const outputTokens = Math.min(wish, asked.max_tokens);
    meter.calls += 1;
    meter.inputTokens += INPUT_TOKENS;
    meter.outputTokens += outputTokens;
    const delayMs = Number(DELAY.exec(text)?.[1] ?? 0);
    if (delayMs > 0) await delay(delayMs);
    if (stream) {
      const known = frames.get(model) ?? framesOf(model, options.events ?? LEAST_EVENTS);
      frames.set(model, known);
      return sendStream(response, { frames: known, paceMs: Number(PACE.exec(text)?.[1] ?? 0) });
    }
    response.writeHead(200, { "content-type": "application/json" });
    response.end(
      JSON.stringify({
        ...message,
        model,
        content: [{ type: "text", text: "done" }],
        stop_reason: "end_turn",
        stop_sequence: null,
        usage: usageOf(outputTokens),
      }),
    );
  }

  const server = createServer((request, response) => {
    if (request.method === "GET") {
      response.end(JSON.stringify(meter));
      return;
    }
    // Who hangs up in the middle of a request or of a stream is the caller's matter.
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    arrivals,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A provider that answers at once and notes when the first byte of each request reached it. */
export type InstantProvider = {
  url: string;
  /** `performance.now()` of the first byte of the request that carries `marker` in its body. */
  arrivals: ReadonlyMap<string, number>;
  close(): Promise<void>;
};

const MARKER = /bench-marker-(\d+)/;
const usage = {
  input_tokens: 10,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  output_tokens: 2,
};

function sendStream(response: ServerResponse, model: string): void {
  const events: [string, object][] = [
    [
      "message_start",
      {
        message: {
          id: "msg_bench",
          type: "message",
          role: "assistant",
          model,
          content: [],
          stop_reason: null,
          stop_sequence: null,
          usage: { ...usage, output_tokens: 1 },
        },
      },
    ],
    ["content_block_start", { index: 0, content_block: { type: "text", text: "" } }],
    ["content_block_delta", { index: 0, delta: { type: "text_delta", text: "done" } }],
    ["content_block_stop", { index: 0 }],
    ["message_delta", { delta: { stop_reason: "end_turn", stop_sequence: null }, usage }],
    ["message_stop", {}],
  ];
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.end(
    events
      .map(([type, data]) => `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`)
      .join(""),
  );
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  arrivals: Map<string, number>,
): Promise<void> {
  const arrivedAt = performance.now();
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  const marker = MARKER.exec(text)?.[1];
  if (marker !== undefined && !arrivals.has(marker)) arrivals.set(marker, arrivedAt);
  const body = JSON.parse(text) as { model: string; stream?: boolean };
  if (body.stream) return sendStream(response, body.model);
  response.writeHead(200, { "content-type": "application/json" });
  response.end(
    JSON.stringify({
      id: "msg_bench",
      type: "message",
      role: "assistant",
      model: body.model,
      content: [{ type: "text", text: "done" }],
      stop_reason: "end_turn",
      stop_sequence: null,
      usage,
    }),
  );
}

export async function startInstantProvider(): Promise<InstantProvider> {
  const arrivals = new Map<string, number>();
  const server = createServer((request, response) => void answer(request, response, arrivals));
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

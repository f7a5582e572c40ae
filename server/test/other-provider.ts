import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { z } from "zod";

/**
 * A second provider of the Messages protocol, written from the protocol alone: nothing of the built-in one is in it.
 * It does what the protocol allows and the other does not: ids of another form, CRLF frames cut at odd bytes, no
 * pings, input tokens only in the last usage, cache counts absent or null. It plays an agent that lists the folder,
 * writes down what it saw, and ends.
 */
export type OtherProvider = {
  url: string;
  /** Calls that it would send an invoice for, and the tokens on it. */
  bill: { calls: number; inputTokens: number; outputTokens: number };
  /** Credentials that came with the calls. */
  keysSeen: Set<string>;
  /** Refuses so many next calls, one status after the other. */
  failNext(...statuses: number[]): void;
  close(): Promise<void>;
};

const blockSchema = z.looseObject({
  type: z.string(),
  content: z
    .union([z.string(), z.array(z.looseObject({ text: z.string().optional() }))])
    .optional(),
});
const requestSchema = z.looseObject({
  model: z.string(),
  max_tokens: z.number().int().positive(),
  stream: z.literal(true),
  messages: z.array(
    z.looseObject({ role: z.string(), content: z.union([z.string(), z.array(blockSchema)]) }),
  ),
  tools: z.array(z.looseObject({ name: z.string() })),
});
type Request = z.infer<typeof requestSchema>;

export type Turn = { say: string; uses?: { name: string; input: Record<string, unknown> }[] };
/** What the model answers to a request. */
export type Play = (request: Request) => Turn;

/** The texts of all tool results so far, oldest first. */
function toolResults({ messages }: Request): string[] {
  return messages
    .flatMap(({ content }) => (typeof content === "string" ? [] : content))
    .filter((block) => block.type === "tool_result")
    .map(({ content = "" }) =>
      typeof content === "string" ? content : content.map((part) => part.text ?? "").join(""),
    );
}

function nextTurn(request: Request): Turn {
  const [listing, written] = toolResults(request);
  if (listing === undefined)
    return { say: "Je regarde.", uses: [{ name: "list_files", input: {} }] };
  if (written === undefined) {
    const names = listing.match(/[\w-]+\.csv/g) ?? [];
    const content = `# Vu\n\n${names.map((name) => `- ${name}`).join("\n")}\n`;
    const uses = [{ name: "write_file", input: { path: "report.md", content } }];
    return { say: "J’écris.", uses };
  }
  return { say: "Voilà, c’est écrit. ✓" };
}

/** The frames of one answer. Usage grows: nothing is known at the start, all of it at the end. */
function framesOf(options: {
  model: string;
  turn: Turn;
  inputTokens: number;
  outputTokens: number;
}): string {
  const { model, turn, inputTokens, outputTokens } = options;
  const events: Record<string, unknown>[] = [
    {
      type: "message_start",
      message: {
        type: "message",
        id: `réponse:${randomUUID()}`,
        role: "assistant",
        model,
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { input_tokens: 0, output_tokens: 0 },
      },
    },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: turn.say } },
    { type: "content_block_stop", index: 0 },
  ];
  for (const [at, { name, input }] of (turn.uses ?? []).entries()) {
    const index = at + 1;
    const id = `call-${randomUUID()}`;
    const json = JSON.stringify(input);
    events.push(
      {
        type: "content_block_start",
        index,
        content_block: { type: "tool_use", id, name, input: {} },
      },
      ...[json.slice(0, 1), "", json.slice(1)].map((partial_json) => ({
        type: "content_block_delta",
        index,
        delta: { type: "input_json_delta", partial_json },
      })),
      { type: "content_block_stop", index },
    );
  }
  events.push(
    {
      type: "message_delta",
      delta: { stop_reason: turn.uses ? "tool_use" : "end_turn", stop_sequence: null },
      usage: {
        input_tokens: inputTokens,
        output_tokens: outputTokens,
        cache_creation_input_tokens: null,
        cache_read_input_tokens: null,
      },
    },
    { type: "message_stop" },
  );
  return events
    .map((event) => `event: ${String(event["type"])}\r\ndata: ${JSON.stringify(event)}\r\n\r\n`)
    .join("");
}

/** Eleven bytes at a time, so that frames, lines and letters are cut in the middle. */
function sendInPieces(response: ServerResponse, frames: string): void {
  const bytes = Buffer.from(frames);
  for (let at = 0; at < bytes.length; at += 11) response.write(bytes.subarray(at, at + 11));
  response.end();
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { "content-type": "application/json" });
  const type =
    status === 529 ? "overloaded_error" : status < 500 ? "invalid_request_error" : "api_error";
  response.end(JSON.stringify({ type: "error", error: { type, message: "Pas maintenant." } }));
}

/** `play`: another agent than the one that is told of above. */
export async function startOtherProvider(play: Play = nextTurn): Promise<OtherProvider> {
  const bill = { calls: 0, inputTokens: 0, outputTokens: 0 };
  const keysSeen = new Set<string>();
  const failures: number[] = [];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    if (
      request.method !== "POST" ||
      new URL(request.url ?? "/", "http://x").pathname !== "/v1/messages"
    )
      return refuse(response, 404);
    keysSeen.add(
      `${String(request.headers["x-api-key"])} ${String(request.headers.authorization)}`,
    );
    const failure = failures.shift();
    if (failure !== undefined) return refuse(response, failure);
    const parsed = requestSchema.safeParse(JSON.parse(body));
    if (!parsed.success) return refuse(response, 400);
    // A tokenizer of its own: seven bytes a token.
    const inputTokens = Math.ceil(Buffer.byteLength(body) / 7);
    const turn = play(parsed.data);
    const outputTokens = Math.ceil(Buffer.byteLength(JSON.stringify(turn)) / 7);
    bill.calls += 1;
    bill.inputTokens += inputTokens;
    bill.outputTokens += outputTokens;
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    sendInPieces(response, framesOf({ model: parsed.data.model, turn, inputTokens, outputTokens }));
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bill,
    keysSeen,
    failNext: (...statuses) => void failures.push(...statuses),
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

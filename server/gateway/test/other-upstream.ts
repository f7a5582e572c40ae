import { createServer, type Server } from "node:http";
import { onTestFinished } from "vitest";

async function listenForTest(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const address = server.address();
  return `http://127.0.0.1:${address !== null && typeof address === "object" ? address.port : 0}`;
}

/** What the other provider was sent. */
export type SeenRequest = {
  path: string;
  headers: Record<string, unknown>;
  body: unknown;
  raw: string;
};

type Block =
  | { type: "text"; text: string }
  | { type: "tool_use"; id: string; name: string; input: unknown };

const CONTENT: readonly Block[] = [
  { type: "text", text: 'Grüße — event: message_delta\ndata: {"usage":{"output_tokens":0}}\n\n' },
  { type: "tool_use", id: "call-1/7", name: "look", input: { where: "здесь" } },
];
/** Input 40 + cache write 0 + cache read 100; output 25. */
const USAGE = { input_tokens: 40, cache_read_input_tokens: 100, output_tokens: 25 };

function* events(model: string): Generator<[string, unknown]> {
  const { output_tokens: _late, ...first } = USAGE;
  yield [
    "message_start",
    {
      type: "message_start",
      message: {
        id: "X-0001",
        type: "message",
        role: "assistant",
        model,
        content: [],
        stop_reason: null,
        usage: first,
      },
    },
  ];
  for (const [index, block] of CONTENT.entries()) {
    if (block.type === "text") {
      yield [
        "content_block_start",
        { type: "content_block_start", index, content_block: { type: "text", text: "" } },
      ];
      for (const letter of block.text)
        yield [
          "content_block_delta",
          { type: "content_block_delta", index, delta: { type: "text_delta", text: letter } },
        ];
    } else {
      yield [
        "content_block_start",
        { type: "content_block_start", index, content_block: { ...block, input: {} } },
      ];
      yield [
        "content_block_delta",
        {
          type: "content_block_delta",
          index,
          delta: { type: "input_json_delta", partial_json: JSON.stringify(block.input) },
        },
      ];
    }
    yield ["content_block_stop", { type: "content_block_stop", index }];
  }
  yield [
    "message_delta",
    {
      type: "message_delta",
      delta: { stop_reason: "tool_use", stop_sequence: null },
      usage: { output_tokens: USAGE.output_tokens },
    },
  ];
  yield ["message_stop", { type: "message_stop" }];
}

/**
 * A second server of the Messages protocol, written without a look at the first: other ids, sparse usage, carriage
 * returns, the event named after its data, chunks of seven bytes, a path before `/v1`, no content-length.
 */
export async function startOtherUpstream(): Promise<{
  url: string;
  seen: SeenRequest[];
  costNanoUsd: number;
}> {
  const seen: SeenRequest[] = [];
  const server = createServer((request, response) => {
    let raw = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => (raw += chunk));
    request.on("end", () => {
      const body = JSON.parse(raw) as { stream?: boolean; model: string };
      seen.push({ path: request.url ?? "", headers: request.headers, body, raw });
      if (body.stream !== true) {
        response.setHeader("content-type", "application/json;charset=UTF-8");
        response.write(" ");
        response.end(
          JSON.stringify(
            {
              usage: USAGE,
              stop_reason: "tool_use",
              content: CONTENT,
              model: body.model,
              role: "assistant",
              type: "message",
              id: "X-0002",
            },
            null,
            1,
          ),
        );
        return;
      }
      response.setHeader("content-type", "text/event-stream");
      const bytes = Buffer.from(
        [...events(body.model)]
          .map(([name, data]) => `data:${JSON.stringify(data)}\r\nevent:${name}\r\n\r\n`)
          .join(": hello\r\n\r\n"),
      );
      for (let at = 0; at < bytes.length; at += 7) response.write(bytes.subarray(at, at + 7));
      response.end();
    });
  });
  const origin = await listenForTest(server);
  // claude-haiku-4-5: $1 input, $0.10 cache read, $5 output per million tokens.
  const costNanoUsd = 40 * 1_000 + 100 * 100 + 25 * 5_000;
  return { url: `${origin}/proxy/anthropic/`, seen, costNanoUsd };
}

/** A provider that sends this many bytes of an event nobody knows inside an otherwise plain answer. */
export async function startFloodingUpstream(
  bytes: number,
): Promise<{ url: string; taken(): number }> {
  let taken = 0;
  const filler = `event: filler\ndata: ${"x".repeat(64 * 1024)}\n\n`;
  const server = createServer((request, response) => {
    request.resume();
    response.setHeader("content-type", "text/event-stream");
    const frames = [...events("claude-haiku-4-5")].map(
      ([name, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`,
    );
    const last = frames.splice(-2).join("");
    response.write(frames.join(""));
    const pour = (): void => {
      while (taken < bytes) {
        taken += filler.length;
        if (!response.write(filler)) {
          response.once("drain", pour);
          return;
        }
      }
      response.end(last);
    };
    pour();
  });
  return { url: await listenForTest(server), taken: () => taken };
}

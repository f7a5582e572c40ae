import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createSimulator } from "../../../simulator/simulator.ts";

/** One request as a client sent it. */
export type RawRequest = {
  method: string;
  path: string;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: string;
};

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

type Asked = {
  model?: string;
  stream?: boolean;
  tools?: { name: string }[];
  messages?: { content: unknown }[];
};

/** The tool and its input that a first turn of a coding agent is answered with, so that a second turn follows. */
function toolUseFor(asked: Asked): { name: string; input: object } | undefined {
  const names = new Set((asked.tools ?? []).map(({ name }) => name));
  if (JSON.stringify(asked.messages ?? []).includes('"tool_result"')) return undefined;
  if (names.has("Read")) return { name: "Read", input: { file_path: "notes.txt" } };
  return undefined;
}

function thinkingTurn(asked: Asked, tool: { name: string; input: object }): string {
  const usage = { input_tokens: 900, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
  const events: { type: string; [key: string]: unknown }[] = [
    {
      type: "message_start",
      message: {
        id: "msg_recorded_1",
        type: "message",
        role: "assistant",
        model: asked.model,
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { ...usage, output_tokens: 1 },
      },
    },
    {
      type: "content_block_start",
      index: 0,
      content_block: { type: "thinking", thinking: "", signature: "" },
    },
    {
      type: "content_block_delta",
      index: 0,
      delta: { type: "thinking_delta", thinking: "I look first." },
    },
    {
      type: "content_block_delta",
      index: 0,
      delta: { type: "signature_delta", signature: "recorded-signature" },
    },
    { type: "content_block_stop", index: 0 },
    {
      type: "content_block_start",
      index: 1,
      content_block: { type: "tool_use", id: "toolu_recorded_1", name: tool.name, input: {} },
    },
    {
      type: "content_block_delta",
      index: 1,
      delta: { type: "input_json_delta", partial_json: JSON.stringify(tool.input) },
    },
    { type: "content_block_stop", index: 1 },
    {
      type: "message_delta",
      delta: { stop_reason: "tool_use", stop_sequence: null },
      usage: { output_tokens: 60 },
    },
    { type: "message_stop" },
  ];
  return events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("");
}

/**
 * A server that writes down what it is sent and lets the simulated provider answer. The first turn of a coding agent
 * gets thinking and a tool use, so that the recording has a turn that carries both back.
 */
export async function startRecordingServer(): Promise<{
  url: string;
  taken(): RawRequest[];
  close(): Promise<void>;
}> {
  const simulator = createSimulator({ latency: { firstByteMs: 0, perEventMs: 0 } });
  const { url: upstream } = await simulator.listen();
  let requests: RawRequest[] = [];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await textOf(request);
    const { method = "", url: path = "", headers } = request;
    requests.push({ method, path, headers, body });
    if (!path.startsWith("/v1/messages")) {
      response.writeHead(404, { "content-type": "application/json" });
      response.end('{"type":"error","error":{"type":"not_found_error","message":"Not found"}}');
      return;
    }
    const asked = JSON.parse(body) as Asked;
    const tool = path.startsWith("/v1/messages/count_tokens") ? undefined : toolUseFor(asked);
    if (tool !== undefined && asked.stream === true) {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(thinkingTurn(asked, tool));
      return;
    }
    const answered = await fetch(`${upstream}${path}`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-api-key": "recording",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "any",
      },
      body,
    });
    response.writeHead(answered.status, {
      "content-type": answered.headers.get("content-type") ?? "application/json",
    });
    response.end(Buffer.from(await answered.arrayBuffer()));
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      process.stderr.write(`recording: ${String(error)}\n`);
      response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    taken() {
      const all = requests;
      requests = [];
      return all;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await simulator.close();
    },
  };
}

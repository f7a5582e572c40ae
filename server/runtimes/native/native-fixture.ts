import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EventBody } from "@guildhall/sdk/contract/event.ts";
import { onTestFinished } from "vitest";
import { createLogger } from "../../platform/log.ts";
import { Secret } from "../../platform/secret.ts";
import { storableJson } from "../../platform/storable-json.ts";
import { openRunFolder } from "../../tools/run-folder.ts";
import { createToolRegistry, type SealedTool } from "../../tools/tools.ts";
import type { RunContext, RunOutcome } from "../runtime.ts";
import { stepSchema, type Step } from "../step.ts";
import { createNativeRuntime } from "./native.ts";

/** One answer of the scripted provider. */
export type Scripted =
  | { content: readonly object[]; stop?: string; headers?: Record<string, string> }
  | { status: number; error: object; headers?: Record<string, string> }
  /** The connection is cut after the first half of the answer. */
  | { cut: true };

function frame(type: string, data: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
}

/** An answer as frames of the Messages protocol; each block comes in one delta. */
function frames(content: readonly object[], stop: string | null): string[] {
  const blocks = content.flatMap((block, index) => {
    const whole = block as Record<string, unknown>;
    const isText = whole["type"] === "text";
    const start = isText ? { type: "text", text: "" } : { ...whole, input: {} };
    const delta = isText
      ? { type: "text_delta", text: whole["text"] }
      : { type: "input_json_delta", partial_json: JSON.stringify(whole["input"]) };
    return [
      frame("content_block_start", { index, content_block: start }),
      frame("content_block_delta", { index, delta }),
      frame("content_block_stop", { index }),
    ];
  });
  const usage = { input_tokens: 10, output_tokens: 1 };
  const message = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "m",
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage,
  };
  return [
    frame("message_start", { message }),
    ...blocks,
    frame("message_delta", {
      delta: { stop_reason: stop, stop_sequence: null },
      usage: { output_tokens: 7 },
    }),
    frame("message_stop", {}),
  ];
}

/** A provider that gives the scripted answers in turn, and remembers the bodies that it was sent. */
async function startScripted(script: readonly Scripted[]) {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      bodies.push(Buffer.concat(chunks).toString());
      const answer = script[Math.min(bodies.length, script.length) - 1];
      if (answer === undefined) throw new Error("the script is empty");
      if ("cut" in answer) {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(
          frames([{ type: "text", text: "half an ans" }], null)
            .slice(0, 3)
            .join(""),
        );
        setImmediate(() => response.destroy());
        return;
      }
      if ("status" in answer) {
        response.writeHead(answer.status, {
          "content-type": "application/json",
          ...answer.headers,
        });
        response.end(JSON.stringify({ type: "error", error: answer.error }));
        return;
      }
      const hasTool = answer.content.some((block) => "input" in block);
      response.writeHead(200, { "content-type": "text/event-stream", ...answer.headers });
      response.end(
        frames(answer.content, answer.stop ?? (hasTool ? "tool_use" : "end_turn")).join(""),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}

/** What a run has stored, as a database would keep it: the steps of one attempt are the start of the next. */
export type Stored = { steps: Step[]; events: EventBody[] };

type Run = {
  script: readonly Scripted[];
  tools?: readonly SealedTool[];
  stored?: Stored;
  toolCallLimit?: number;
  attempt?: number;
  signal?: AbortSignal;
  shouldYield?: () => boolean;
};

/** Runs the native loop against a scripted provider. */
export async function runNative(
  run: Run,
): Promise<{ outcome: RunOutcome; stored: Stored; bodies: string[] }> {
  const stored = run.stored ?? { steps: [], events: [] };
  const provider = await startScripted(run.script);
  const root = await mkdtemp(join(tmpdir(), "guildhall-native-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  const tools = run.tools ?? [];
  const ctx: RunContext = {
    run: { workspaceId: "ws_t", taskId: "task_t", runId: "run_t", attempt: run.attempt ?? 1 },
    agent: {
      id: "tester",
      name: "Tester",
      role: "",
      traits: [],
      voice: "",
      systemPrompt: "You are a test agent.",
      tools: tools.map((tool) => tool.name),
      model: "test-model",
      desk: 1,
    },
    prompt: "Do the test.",
    inputFileCount: 0,
    toolCallLimit: run.toolCallLimit ?? 100,
    gateway: { baseUrl: provider.url, token: new Secret("token of a test") },
    tools: createToolRegistry(tools, {
      onUnexpected: ({ error }) => {
        throw error;
      },
    }),
    folder: await openRunFolder({
      root,
      limits: { maxFileBytes: 1e6, maxTotalBytes: 1e7, maxFiles: 100 },
    }),
    record: {
      loadSteps: () => Promise.resolve([...stored.steps]),
      saveStep({ step, events }) {
        stored.steps[step.stepNo - 1] = stepSchema.parse(JSON.parse(storableJson(step)));
        stored.events.push(...events);
        return Promise.resolve();
      },
      keepFiles: () => Promise.resolve(undefined),
      postedNanoUsd: () => Promise.resolve(42),
      emit: (event) => void stored.events.push(event),
      emitText: (step, text) =>
        void stored.events.push({ type: "model.text", data: { step, text } }),
    },
    signal: run.signal ?? new AbortController().signal,
    shouldYield: run.shouldYield ?? (() => false),
    log: createLogger({ level: "silent" }),
  };
  const outcome = await createNativeRuntime({ retryDelaysMs: [1, 1, 1] }).run(ctx);
  return { outcome, stored, bodies: provider.bodies };
}

export const say = (text: string): object => ({ type: "text", text });
export const call = (id: string, name: string, input: object = {}): object => ({
  type: "tool_use",
  id,
  name,
  input,
});

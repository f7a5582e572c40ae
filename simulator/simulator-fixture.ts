import { request } from "node:http";
import Anthropic from "@anthropic-ai/sdk";
import { onTestFinished } from "vitest";
import type { Simulator, SimulatorOptions } from "./simulator.ts";
import { createSimulator } from "./simulator.ts";

export const MODEL = "claude-sonnet-5-5";

type Running = { simulator: Simulator; url: string; client: Anthropic };

/** Starts a simulator without latency for one test and closes it afterwards. */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Running> {
  const simulator = createSimulator({ latency: { firstByteMs: 0, perEventMs: 0 }, ...options });
  const { url } = await simulator.listen();
  onTestFinished(() => simulator.close());
  return {
    simulator,
    url,
    client: new Anthropic({ baseURL: url, apiKey: options.apiKey ?? "key-a", maxRetries: 0 }),
  };
}

/** Sends a request as it is, without a client's own ideas. */
export function post(input: {
  url: string;
  path?: string;
  body: unknown;
  headers?: Record<string, string>;
}): Promise<Response> {
  return fetch(`${input.url}${input.path ?? "/v1/messages"}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-api-key": "key-a",
      "anthropic-version": "2023-06-01",
      ...input.headers,
    },
    body: typeof input.body === "string" ? input.body : JSON.stringify(input.body),
  });
}

/** What arrived of a response: its bytes, and whether it came to an orderly end. */
export type Received = { status: number; chunks: Buffer[]; body: Buffer; complete: boolean };

/** Sends a request and collects what arrives, also when the connection breaks. */
export function receive(input: { url: string; body: unknown; fault?: unknown }): Promise<Received> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const done = (status: number, complete: boolean): void =>
      resolve({ status, chunks, body: Buffer.concat(chunks), complete });
    const headers: Record<string, string> = {
      "x-api-key": "key-a",
      "anthropic-version": "2023-06-01",
    };
    if (input.fault !== undefined) headers["x-sim-fault"] = JSON.stringify(input.fault);
    const req = request(
      `${input.url}/v1/messages`,
      { method: "POST", headers, agent: false },
      (res) => {
        res.on("data", (chunk: Buffer) => chunks.push(chunk));
        res.on("error", () => undefined);
        res.on("close", () => done(res.statusCode ?? 0, res.complete));
      },
    );
    req.on("error", () => done(0, false));
    req.end(JSON.stringify(input.body));
  });
}

type SseEvent = { event: string; data: string };

/** Reads well-formed server-sent events. */
export function readEvents(text: string): SseEvent[] {
  return text
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => ({
      event: /^event: (.*)$/m.exec(block)?.[1] ?? "",
      data: /^data: (.*)$/m.exec(block)?.[1] ?? "",
    }));
}

/** A request of the shape that most tests use. */
export function ask(
  content: string,
  more: Record<string, unknown> = {},
): { model: string; max_tokens: number; messages: [{ role: "user"; content: string }] } {
  return { model: MODEL, max_tokens: 500, messages: [{ role: "user", content }], ...more };
}

import Anthropic from "@anthropic-ai/sdk";
import { z } from "zod";
import { PROTOCOL_VERSION } from "../../gateway/request/request.ts";
import { canonicalJson } from "../../platform/storable-json.ts";
import type { RunContext } from "../runtime.ts";
import { contentBlockSchema, type ModelStep, type Step } from "../step.ts";
import { buildMessages } from "./messages.ts";

/** The one request of a step: a pure function of the agent, the task and the stored steps. */
function buildRequest(
  ctx: RunContext,
  call: { steps: readonly Step[]; maxOutputTokens: number },
): Anthropic.Messages.MessageStreamParams {
  // Tools that are offered by later releases, or were taken out, must not stop an agent.
  const names = ctx.agent.tools.filter((name) => ctx.tools.find(name) !== undefined);
  return {
    model: ctx.agent.model,
    max_tokens: call.maxOutputTokens,
    // The conversation only grows at its end, so each call reads nearly all of its input from the provider's cache.
    cache_control: { type: "ephemeral" },
    metadata: { user_id: ctx.run.runId },
    system: ctx.agent.systemPrompt,
    messages: buildMessages({ ...ctx, steps: call.steps }),
    ...(names.length === 0 ? {} : { tools: ctx.tools.definitions(names) }),
  };
}

const count = z.int().min(0).catch(0);
const usageSchema = z.object({
  input_tokens: count,
  cache_read_input_tokens: count,
  cache_creation_input_tokens: count,
  output_tokens: count,
});

function toUsage(raw: unknown): ModelStep["body"]["usage"] {
  const usage = usageSchema.parse(raw);
  return {
    input_tokens: usage.input_tokens,
    cache_read_tokens: usage.cache_read_input_tokens,
    cache_write_tokens: usage.cache_creation_input_tokens,
    output_tokens: usage.output_tokens,
  };
}

/** Blocks of features that are not asked for are left out; a block that breaks the protocol makes the answer invalid. */
function toContent(blocks: readonly { type: string }[]): ModelStep["body"]["content"] {
  const known = new Set(["text", "thinking", "redacted_thinking", "tool_use"]);
  return z
    .array(contentBlockSchema)
    .parse(canonicalJson(blocks.filter((block) => known.has(block.type))));
}

function headerNumber(headers: Headers, name: string): number | undefined {
  const text = headers.get(name);
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

export type ModelAnswer = { step: ModelStep; replayed: boolean; durationMs: number };

/**
 * Makes one streamed call through the gateway. Text is told as it comes. Throws the client's error, or whatever the
 * stream broke with; an answer counts only when it ended cleanly with a reason to stop.
 */
export async function callModel(
  ctx: RunContext,
  call: {
    stepNo: number;
    steps: readonly Step[];
    maxOutputTokens: number;
    callTimeoutMs: number;
    /** How many tries of this call have failed before. */
    failures: number;
    onText: () => void;
  },
): Promise<ModelAnswer> {
  const { stepNo } = call;
  const client = new Anthropic({
    baseURL: ctx.gateway.baseUrl,
    apiKey: ctx.gateway.token.reveal(),
    // Each try must have its own hold and its own event, so the client makes none by itself.
    maxRetries: 0,
    defaultHeaders: {
      // The version that every server of the protocol knows; the client's own default is a newer one.
      "anthropic-version": PROTOCOL_VERSION,
      // As the client itself says it: the try before may have been paid for, at another gateway.
      "x-stainless-retry-count": String(call.failures),
    },
    timeout: call.callTimeoutMs,
    logLevel: "off",
  });
  const startedAt = performance.now();
  const stream = client.messages.stream(buildRequest(ctx, call), { signal: ctx.signal });
  stream.on("text", (delta) => {
    ctx.record.emitText(stepNo, delta);
    call.onText();
  });
  const { response } = await stream.withResponse();
  ctx.record.emit({
    type: "model.started",
    data: {
      step: stepNo,
      model: ctx.agent.model,
      held_nano_usd: headerNumber(response.headers, "guildhall-held-nano-usd") ?? 0,
      max_tokens: headerNumber(response.headers, "guildhall-max-tokens") ?? call.maxOutputTokens,
    },
  });
  const message = await stream.finalMessage();
  if (message.stop_reason === null)
    throw new TypeError("the model's answer ended without a reason to stop");
  return {
    step: {
      kind: "model",
      stepNo,
      state: "done",
      body: {
        model: ctx.agent.model,
        content: toContent(message.content),
        stop_reason: message.stop_reason,
        usage: toUsage(message.usage),
        hold_id: response.headers.get("guildhall-hold-id"),
      },
    },
    replayed: response.headers.get("guildhall-replayed") === "true",
    durationMs: Math.round(performance.now() - startedAt),
  };
}

import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

const MODEL = "claude-sonnet-5-5";
const ask = (text: string) => [{ role: "user" as const, content: text }];
const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const base = { model: MODEL, max_tokens: 4_000, messages: ask("Hello.") };
const TOOL = {
  name: "weather",
  description: "Tells the weather.",
  input_schema: {
    type: "object" as const,
    properties: {
      place: { type: "string" },
      days: { anyOf: [{ type: "integer" }, { type: "null" }], default: null },
    },
    required: ["place"],
    additionalProperties: false,
  },
  strict: true,
};

type Calls = Record<string, () => PromiseLike<unknown>>;

function plainCalls({ messages }: Anthropic): Calls {
  return {
    plain: () => messages.create(base),
    stream: () => messages.stream(base).finalMessage(),
    settings: () =>
      messages.create({
        ...base,
        system: "Be brief.",
        stop_sequences: ["END"],
        metadata: { user_id: "user-1" },
        service_tier: "auto",
      }),
    thinking: () =>
      messages
        .stream({ ...base, thinking: { type: "enabled", budget_tokens: 2_000 } })
        .finalMessage(),
    "adaptive thinking": () =>
      messages
        .stream({
          ...base,
          thinking: { type: "adaptive", display: "summarized" },
          output_config: { effort: "low" },
        })
        .finalMessage(),
    image: () =>
      messages.create({
        ...base,
        messages: [
          {
            role: "user",
            content: [
              { type: "image", source: { type: "base64", media_type: "image/png", data: PIXEL } },
              { type: "text", text: "What is it?" },
            ],
          },
        ],
      }),
    documents: () =>
      messages.create({
        ...base,
        messages: [
          {
            role: "user",
            content: [
              {
                type: "document",
                source: { type: "text", media_type: "text/plain", data: "A text." },
                title: "T",
                context: "C",
                citations: { enabled: true },
              },
              {
                type: "search_result",
                source: "s",
                title: "t",
                content: [{ type: "text", text: "found" }],
              },
              { type: "text", text: "Sum up." },
            ],
          },
        ],
      }),
    "prompt caching": () =>
      messages.create({
        ...base,
        system: [
          {
            type: "text",
            text: "You are careful. ".repeat(400),
            cache_control: { type: "ephemeral", ttl: "1h" },
          },
        ],
        tools: [{ ...TOOL, cache_control: { type: "ephemeral", ttl: "1h" } }],
        cache_control: { type: "ephemeral" },
      }),
  };
}

function toolCalls({ messages, beta }: Anthropic): Calls {
  return {
    tools: () =>
      messages.create({
        ...base,
        tools: [TOOL],
        tool_choice: { type: "any", disable_parallel_tool_use: true },
      }),
    "tool result": () =>
      messages.create({
        ...base,
        tools: [TOOL, { type: "bash_20250124", name: "bash" }],
        messages: [
          ...base.messages,
          {
            role: "assistant",
            content: [
              { type: "thinking", thinking: "Look.", signature: "signature-1" },
              { type: "text", text: "I look." },
              { type: "tool_use", id: "toolu_1", name: "weather", input: { place: "Zürich" } },
            ],
          },
          {
            role: "user",
            content: [
              {
                type: "tool_result",
                tool_use_id: "toolu_1",
                content: [
                  { type: "text", text: "Sunny." },
                  {
                    type: "image",
                    source: { type: "base64", media_type: "image/png", data: PIXEL },
                  },
                ],
              },
              { type: "text", text: "And tomorrow?", cache_control: { type: "ephemeral" } },
            ],
          },
        ],
      }),
    "tool runner": () =>
      beta.messages.toolRunner({
        ...base,
        tool_choice: { type: "tool", name: "add" },
        max_iterations: 1,
        tools: [
          betaZodTool({
            name: "add",
            description: "Adds.",
            inputSchema: z.object({ a: z.number(), b: z.number().optional() }),
            run: ({ a, b }) => String(a + (b ?? 0)),
          }),
        ],
      }),
  };
}

function otherCalls({ messages, beta }: Anthropic): Calls {
  return {
    "structured output": () =>
      messages.parse({
        ...base,
        output_config: { format: zodOutputFormat(z.object({ answer: z.string() })) },
      }),
    "structured output, beta": () =>
      beta.messages.parse({
        ...base,
        betas: ["structured-outputs-2025-11-13"],
        output_config: {
          format: {
            type: "json_schema",
            schema: { type: "object", properties: {}, additionalProperties: false },
          },
        },
      }),
    "context management": () =>
      beta.messages.create({
        ...base,
        betas: ["context-management-2025-06-27", "interleaved-thinking-2025-05-14"],
        context_management: { edits: [{ type: "clear_tool_uses_20250919" }] },
        tools: [{ type: "memory_20250818", name: "memory" }],
      }),
    "count tokens": () =>
      messages.countTokens({
        model: MODEL,
        messages: base.messages,
        tools: [TOOL],
        system: "Be brief.",
        thinking: { type: "adaptive" },
      }),
    "count tokens, beta": () =>
      beta.messages.countTokens({
        model: MODEL,
        messages: base.messages,
        betas: ["token-counting-2024-11-01", "context-management-2025-06-27"],
        context_management: { edits: [{ type: "clear_tool_uses_20250919" }] },
      }),
  };
}

/** Every feature of the official TypeScript client that a call can be made with, by name. */
export function typescriptScenarios(baseURL: string): Calls {
  const client = new Anthropic({ baseURL, apiKey: "recording", maxRetries: 0, logLevel: "off" });
  return { ...plainCalls(client), ...toolCalls(client), ...otherCalls(client) };
}

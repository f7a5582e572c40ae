import { describe, expect, test } from "vitest";
import type { AppError } from "../../platform/errors.ts";
import { leastTokens, parseCountRequest, parseMessagesRequest } from "./request.ts";

const BASE = {
  model: "claude-sonnet-4-5",
  max_tokens: 2_000,
  messages: [{ role: "user", content: "hi" }],
};

function parse(body: unknown, headers: { beta?: string; version?: string } = {}) {
  return parseMessagesRequest({
    raw: Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
    beta: headers.beta,
    version: headers.version,
  });
}

function refusal(body: unknown, headers: { beta?: string; version?: string } = {}): AppError {
  const parsed = parse(body, headers);
  if (parsed.status === "accepted") throw new Error("was accepted");
  return parsed.error;
}

function accepted(body: unknown, headers: { beta?: string; version?: string } = {}) {
  const parsed = parse(body, headers);
  if (parsed.status === "refused") throw parsed.error;
  return parsed.request;
}

const userBlock = (block: unknown) => ({ ...BASE, messages: [{ role: "user", content: [block] }] });

describe("what may be asked", () => {
  test.each([
    ["a bare request", BASE],
    ["a stream", { ...BASE, stream: true }],
    ["sampling settings", { ...BASE, temperature: 0.3, top_p: 0.9, top_k: 5 }],
    [
      "a system prompt in blocks",
      { ...BASE, system: [{ type: "text", text: "s", cache_control: { type: "ephemeral" } }] },
    ],
    [
      "a system message",
      { ...BASE, messages: [...BASE.messages, { role: "system", content: "s" }] },
    ],
    [
      "a base64 image",
      userBlock({
        type: "image",
        source: { type: "base64", media_type: "image/png", data: "aGk=" },
      }),
    ],
    [
      "a text document",
      userBlock({
        type: "document",
        source: { type: "text", media_type: "text/plain", data: "x" },
        title: "t",
        citations: { enabled: true },
      }),
    ],
    [
      "a tool of one's own",
      {
        ...BASE,
        tools: [
          {
            name: "t",
            description: "d",
            input_schema: { type: "object", properties: {} },
            strict: true,
          },
        ],
        tool_choice: { type: "auto" },
      },
    ],
    [
      "a tool that says it is custom",
      { ...BASE, tools: [{ type: "custom", name: "t", input_schema: { type: "object" } }] },
    ],
    [
      "a client tool of the provider",
      { ...BASE, tools: [{ type: "bash_20250124", name: "bash" }] },
    ],
    ["thinking", { ...BASE, thinking: { type: "enabled", budget_tokens: 1_500 } }],
    [
      "adaptive thinking and effort",
      {
        ...BASE,
        thinking: { type: "adaptive", display: "omitted" },
        output_config: { effort: "low" },
      },
    ],
    [
      "a schema for the answer",
      { ...BASE, output_config: { format: { type: "json_schema", schema: { type: "object" } } } },
    ],
    [
      "fields that clients send as null",
      { ...BASE, container: null, mcp_servers: null, cache_control: null, inference_geo: null },
    ],
    [
      "an answer that comes back as it was given",
      {
        ...BASE,
        messages: [
          { role: "user", content: "q" },
          {
            role: "assistant",
            content: [
              { type: "thinking", thinking: "", signature: "s" },
              { type: "redacted_thinking", data: "d" },
              { type: "text", text: "t", citations: null },
              { type: "tool_use", id: "i", name: "n", input: {}, caller: { type: "direct" } },
            ],
          },
          {
            role: "user",
            content: [
              {
                type: "tool_result",
                tool_use_id: "i",
                content: [{ type: "text", text: "r" }],
                is_error: false,
              },
            ],
          },
        ],
      },
    ],
  ])("%s is accepted", (_what, body) => {
    expect(parse(body)).toMatchObject({ status: "accepted" });
  });
});

describe("what is refused, with the field named", () => {
  test.each([
    ["max_tokens above the model's", { ...BASE, max_tokens: 64_001 }, "max_tokens"],
    ["max_tokens 10^9", { ...BASE, max_tokens: 1e9 }, "max_tokens"],
    ["max_tokens 0", { ...BASE, max_tokens: 0 }, "max_tokens"],
    ["max_tokens -1", { ...BASE, max_tokens: -1 }, "max_tokens"],
    [
      "max_tokens 1e308",
      '{"model":"claude-sonnet-4-5","max_tokens":1e308,"messages":[{"role":"user","content":"x"}]}',
      "max_tokens",
    ],
    ["max_tokens as text", { ...BASE, max_tokens: "5" }, "max_tokens"],
    ["max_tokens with a fraction", { ...BASE, max_tokens: 1.5 }, "max_tokens"],
    ["no max_tokens", { ...BASE, max_tokens: undefined }, "max_tokens"],
    ["no messages", { ...BASE, messages: [] }, "messages"],
    ["an unknown field", { ...BASE, priority_boost: 1 }, "priority_boost"],
    [
      "an unknown field inside",
      userBlock({ type: "text", text: "x", premium: true }),
      "messages.0.content.0.premium",
    ],
    ["fallback models", { ...BASE, fallbacks: [{ model: "claude-opus-4-5" }] }, "fallbacks"],
    [
      "servers that the provider would call",
      { ...BASE, mcp_servers: [{ url: "https://x" }] },
      "mcp_servers",
    ],
    ["a container", { ...BASE, container: "c" }, "container"],
    ["fast mode", { ...BASE, speed: "fast" }, "speed"],
    ["another region", { ...BASE, inference_geo: "us" }, "inference_geo"],
    ["a priority tier", { ...BASE, service_tier: "priority" }, "service_tier"],
    [
      "web search",
      { ...BASE, tools: [{ type: "web_search_20250305", name: "web_search" }] },
      "tools.0",
    ],
    [
      "an adviser model",
      { ...BASE, tools: [{ type: "advisor_20260301", name: "advisor" }] },
      "tools.0",
    ],
    [
      "a tool that code at the provider may call",
      {
        ...BASE,
        tools: [
          {
            name: "t",
            input_schema: { type: "object" },
            allowed_callers: ["code_execution_20260120"],
          },
        ],
      },
      "tools.0.allowed_callers.0",
    ],
    [
      "an image by URL",
      userBlock({ type: "image", source: { type: "url", url: "https://x/y.png" } }),
      "messages.0.content.0.source.type",
    ],
    [
      "a document by file id",
      userBlock({ type: "document", source: { type: "file", file_id: "f" } }),
      "messages.0.content.0.source.type",
    ],
    [
      "an image by URL in a tool result",
      userBlock({
        type: "tool_result",
        tool_use_id: "i",
        content: [{ type: "image", source: { type: "url", url: "https://x" } }],
      }),
      "messages.0.content.0.content.0.source.type",
    ],
    [
      "a server tool's result",
      userBlock({ type: "web_search_tool_result", tool_use_id: "i", content: [] }),
      "messages.0.content.0.type",
    ],
    [
      "an uploaded container file",
      userBlock({ type: "container_upload", file_id: "f" }),
      "messages.0.content.0.type",
    ],
    [
      "a thinking budget as large as the answer",
      { ...BASE, thinking: { type: "enabled", budget_tokens: 2_000 } },
      "thinking.budget_tokens",
    ],
    [
      "turns that the provider keeps",
      { ...BASE, thread: { type: "continue", previous_message_id: "m" } },
      "thread",
    ],
    ["a summary by the provider", { ...BASE, compaction: { type: "summarize" } }, "compaction"],
    ["another payer", { ...BASE, billing_policy: { type: "billing_policy" } }, "billing_policy"],
    ["another profile", { ...BASE, user_profile_id: "u" }, "user_profile_id"],
    [
      "cache entries shared beyond the workspace",
      { ...BASE, cache_control: { type: "ephemeral", scope: "global" } },
      "cache_control.scope",
    ],
    [
      "a server that the provider calls, added in the middle",
      userBlock({ type: "tool_addition", tool: { type: "mcp_toolset_reference", name: "x" } }),
      "messages.0.content.0.tool.type",
    ],
    [
      "a cache lifetime without a price",
      { ...BASE, cache_control: { type: "ephemeral", ttl: "24h" } },
      "cache_control.ttl",
    ],
  ])("%s", (_what, body, field) => {
    const error = refusal(body);
    expect(error.status).toBe(400);
    expect(error.extensions).toMatchObject({ type: "invalid_request_error", details: { field } });
    expect(error.publicMessage.startsWith(`${field}: `)).toBe(true);
  });

  test.each([
    "claude-sonnet-4",
    "claude-sonnet-4-5 ",
    "CLAUDE-SONNET-4-5",
    "claude-opus-4-1",
    "gpt-5",
    "",
  ])("the model %o has no price", (model) => {
    expect(refusal({ ...BASE, model })).toMatchObject({ status: 400, code: "model_not_priced" });
  });

  test.each([
    "fast-mode-2026-02-01",
    "server-side-fallback-2026-07-01",
    "output-300k-2026-03-24",
    "compact-2026-01-12",
    "mcp-client-2025-11-20",
    "advisor-tool-2026-03-01",
    "never-heard-of",
  ])("the beta %s", (beta) => {
    expect(refusal(BASE, { beta: `prompt-caching-2024-07-31,${beta}` }).publicMessage).toContain(
      beta,
    );
  });

  test.each(["[]", "null", '"x"', "1", "", "{"])("a body that is no object: %s", (body) => {
    expect(refusal(body).status).toBe(400);
  });

  test("a protocol version whose stream is another one", () => {
    expect(refusal(BASE, { version: "2023-01-01" }).publicMessage).toContain("anthropic-version");
  });
});

describe("what goes to the provider", () => {
  test("duplicate keys never get there, whichever of them would have been checked", () => {
    const body = JSON.stringify(BASE).replace("{", '{"max_tokens":64000,');
    expect(refusal(body).publicMessage).toContain('"max_tokens" twice');
  });

  test("optional fields are taken out and named", () => {
    const { dropped, serialise } = accepted(
      { ...BASE, context_management: { edits: [] }, diagnostics: {}, service_tier: "auto" },
      { beta: "context-management-2025-06-27" },
    );
    expect(dropped).toEqual([
      "context_management",
      "diagnostics",
      "service_tier",
      "context-management-2025-06-27",
    ]);
    expect(Object.keys(JSON.parse(serialise().toString()) as object)).toEqual([
      "model",
      "max_tokens",
      "messages",
      "service_tier",
    ]);
  });

  test("a clamp lowers max_tokens and a thinking budget that no longer fits, and nothing else", () => {
    const { serialise, body } = accepted({
      ...BASE,
      max_tokens: 32_000,
      thinking: { type: "enabled", budget_tokens: 16_000 },
    });
    const sent = (max: number) =>
      JSON.parse(serialise(max).toString()) as {
        max_tokens: number;
        thinking: { budget_tokens: number };
      };
    expect(sent(20_000)).toMatchObject({ max_tokens: 20_000, thinking: { budget_tokens: 16_000 } });
    expect(sent(8_000)).toMatchObject({ max_tokens: 8_000, thinking: { budget_tokens: 4_000 } });
    const least = leastTokens(body);
    expect(sent(least).thinking.budget_tokens).toBeGreaterThanOrEqual(1_024);
    expect(sent(least).thinking.budget_tokens).toBeLessThan(least);
    expect(JSON.parse(serialise(32_000).toString())).toEqual(JSON.parse(serialise().toString()));
  });

  test("equal calls have equal hashes, also when one will be clamped; different ones differ", () => {
    const hash = (body: unknown, headers = {}) => accepted(body, headers).requestHash;
    expect(hash(BASE)).toBe(hash({ ...BASE }));
    expect(hash(BASE)).toMatch(/^[0-9a-f]{64}$/);
    const others = [
      hash({ ...BASE, stream: true }),
      hash({ ...BASE, max_tokens: 1_999 }),
      hash(BASE, { beta: "token-counting-2024-11-01" }),
      hash(BASE, { version: "2026-10-21" }),
    ];
    expect(new Set([hash(BASE), ...others]).size).toBe(5);
  });

  test("a count request takes no output settings", () => {
    const { max_tokens: _max, ...count } = BASE;
    const parseCount = (body: unknown) =>
      parseCountRequest({
        raw: Buffer.from(JSON.stringify(body)),
        beta: undefined,
        version: undefined,
      });
    expect(parseCount(count).status).toBe("accepted");
    expect(parseCount(BASE).status).toBe("refused");
  });
});

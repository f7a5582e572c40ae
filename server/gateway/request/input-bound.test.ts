import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { inputTokensOf, promptSegments } from "../../../simulator/metering/prompt-segments.ts";
import { parseCountRequest as parseAtProvider } from "../../../simulator/protocol/request.ts";
import { inputBound } from "./input-bound.ts";
import { findPrice } from "./prices.ts";
import { parseCountRequest } from "./request.ts";
import { createRunMemory } from "../budget/run-memory.ts";

const MODEL = "claude-sonnet-5-5";
const price = findPrice(MODEL)!;

function parse(body: unknown, beta?: string) {
  const parsed = parseCountRequest({
    raw: Buffer.from(JSON.stringify(body)),
    beta,
    version: undefined,
  });
  if (parsed.status === "refused") throw parsed.error;
  return parsed.request;
}

/** What the simulated provider bills for this request. */
function billed(body: unknown): number {
  const parsed = parseAtProvider(body, false);
  if (!parsed.ok) throw new Error(parsed.problem.message);
  return inputTokensOf(promptSegments(parsed.request));
}

const text = fc.oneof(
  fc.string({ minLength: 1 }),
  fc.string({ unit: "grapheme", minLength: 1 }),
  fc.constant("x".repeat(500)),
);
const textBlock = text.map((t) => ({ type: "text", text: t }));
const image = fc.constant({
  type: "image",
  source: { type: "base64", media_type: "image/png", data: "aGk=" },
});
const document = text.map((data) => ({
  type: "document",
  source: { type: "text", media_type: "text/plain", data },
}));
const searchResult = fc
  .record({ source: text, title: text, content: fc.array(textBlock, { maxLength: 2 }) })
  .map((found) => ({ type: "search_result", ...found }));
const userContent = fc.oneof(
  text,
  fc.array(fc.oneof(textBlock, image, document, searchResult), { minLength: 1, maxLength: 4 }),
);
const exchange = fc
  .record({
    question: userContent,
    answer: text,
    input: fc.dictionary(fc.string(), fc.jsonValue()),
    result: text,
    id: fc.uuid(),
    thought: text,
    media: fc.array(fc.oneof(textBlock, image, searchResult), { maxLength: 3 }),
  })
  .map(({ question, answer, input, result, id, thought, media }) => [
    { role: "user", content: question },
    {
      role: "assistant",
      content: [
        { type: "thinking", thinking: thought, signature: `signature of ${id}` },
        { type: "text", text: answer },
        { type: "tool_use", id, name: "look", input },
      ],
    },
    {
      role: "user",
      content: [
        { type: "tool_result", tool_use_id: id, content: media.length === 0 ? result : media },
      ],
    },
    { role: "system", content: [{ type: "text", text: result }] },
  ]);
const tool = fc.record({
  name: fc.stringMatching(/^[a-z]{3,20}$/),
  description: text,
  input_schema: fc
    .dictionary(fc.string(), fc.jsonValue())
    .map((properties) => ({ type: "object", properties })),
});
const request = fc.record(
  {
    model: fc.constant(MODEL),
    messages: fc.array(exchange, { minLength: 1, maxLength: 3 }).map((list) => list.flat()),
    system: fc.oneof(text, fc.array(textBlock, { maxLength: 2 })),
    output_config: fc.record({
      format: fc.constant({ type: "json_schema", schema: { type: "object" } }),
      task_budget: fc.constant({ type: "tokens", total: 50_000 }),
    }),
    tools: fc.uniqueArray(tool, { selector: ({ name }) => name, maxLength: 3 }),
  },
  { requiredKeys: ["model", "messages"] },
);

describe("upper bound of input tokens", () => {
  test("is never below what the provider bills", () => {
    fc.assert(
      fc.property(request, (body) => {
        const { body: parsed } = parse(body);
        // Thinking comes from answers whose length is known: at the simulated provider it counts as its visible text.
        const thinkingOrigin = () => 2_000;
        const bound = inputBound(parsed, { price, thinkingOrigin });
        expect(bound).toBeGreaterThanOrEqual(billed(body));
      }),
      { numRuns: 1_000 },
    );
  });

  test("of a conversation that grows, with the last exact count known, is still never below", () => {
    fc.assert(
      fc.property(request, fc.array(exchange, { minLength: 1, maxLength: 2 }), (first, more) => {
        const memory = createRunMemory();
        memory.noteCall("run_1", { request: parse(first), inputTokens: billed(first) });
        const grown = {
          ...first,
          messages: [...first.messages, { role: "assistant", content: "ok" }, ...more.flat()],
        };
        const bound = memory.bound("run_1", parse(grown));
        expect(bound).toBeGreaterThanOrEqual(billed(grown));
        expect(bound).toBeLessThanOrEqual(createRunMemory().bound("run_1", parse(grown)));
      }),
      { numRuns: 500 },
    );
  });

  const grown = (change: object) => ({
    model: MODEL,
    messages: [
      { role: "user", content: "a".repeat(10_000) },
      { role: "assistant", content: "ok" },
      { role: "user", content: "b" },
    ],
    ...change,
  });
  const boundAfter = (first: object, later: object) => {
    const memory = createRunMemory();
    memory.noteCall("run_1", { request: parse(first), inputTokens: 10 });
    return memory.bound("run_1", parse(later));
  };
  const short = { ...grown({}), messages: grown({}).messages.slice(0, 1) };

  test("a moved cache mark does not hide that the beginning is known", () => {
    const marked = {
      ...grown({}),
      messages: [
        { role: "user", content: [{ type: "text", text: "a".repeat(10_000) }] },
        ...grown({}).messages.slice(1),
      ],
    };
    const first = {
      model: MODEL,
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "a".repeat(10_000), cache_control: { type: "ephemeral" } },
          ],
        },
      ],
    };
    expect(boundAfter(first, marked)).toBeLessThan(1_000);
  });

  test.each([
    ["the model", { model: "claude-opus-5-5" }],
    ["the system prompt", { system: "new" }],
    ["the tools", { tools: [{ name: "t", input_schema: { type: "object" } }] }],
    ["thinking", { thinking: { type: "adaptive" } }],
    ["an early message", { messages: [{ role: "user", content: "c".repeat(10_000) }] }],
  ])("what is known of a call does not count when %s differs", (_what, change) => {
    expect(boundAfter(short, grown({}))).toBeLessThan(1_000);
    expect(boundAfter(short, grown(change))).toBeGreaterThan(10_000);
  });

  test("what is known of a call does not count when a beta may have made its tools shorter", () => {
    const memory = createRunMemory();
    memory.noteCall("run_1", {
      request: parse(short, "token-efficient-tools-2025-02-19"),
      inputTokens: 10,
    });
    expect(memory.bound("run_1", parse(grown({})))).toBeGreaterThan(10_000);
  });

  test("thinking that comes back counts as the answer it came from, or as the longest there is", () => {
    const body = {
      model: MODEL,
      messages: [
        { role: "user", content: "q" },
        { role: "assistant", content: [{ type: "thinking", thinking: "", signature: "sig-1" }] },
        { role: "user", content: "go on" },
      ],
    };
    const memory = createRunMemory();
    expect(memory.bound("run_1", parse(body))).toBeGreaterThan(128_000);
    memory.noteThinking(["sig-1"], 700);
    const known = memory.bound("run_1", parse(body));
    expect(known).toBeGreaterThan(700);
    expect(known).toBeLessThan(1_500);
  });

  test("a PDF counts as the whole window, for its pages are compressed", () => {
    const body = {
      model: MODEL,
      messages: [
        {
          role: "user",
          content: [
            {
              type: "document",
              source: { type: "base64", media_type: "application/pdf", data: "JVBERg==" },
            },
          ],
        },
      ],
    };
    expect(createRunMemory().bound("run_1", parse(body))).toBe(price.contextWindowTokens);
  });
});

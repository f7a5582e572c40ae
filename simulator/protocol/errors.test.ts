import { expect, test } from "vitest";
import { ask, MODEL, post, startSimulator } from "../simulator-fixture.ts";

type Refusal = {
  status: number;
  body: { type: string; error: { type: string; message: string }; request_id: string };
  headers: Headers;
};

async function refusal(response: Response): Promise<Refusal> {
  return {
    status: response.status,
    body: (await response.json()) as Refusal["body"],
    headers: response.headers,
  };
}

const use = { type: "tool_use", id: "t1", name: "x", input: {} };
const result = { type: "tool_result", tool_use_id: "t1", content: "ok" };

const BAD_REQUESTS: Record<string, [unknown, RegExp]> = {
  "no JSON": ['{"model":', /not valid JSON/],
  "no max_tokens": [{ model: MODEL, messages: ask("x").messages }, /^max_tokens: /],
  "max_tokens of 0": [ask("x", { max_tokens: 0 }), /^max_tokens: /],
  "max_tokens as text": [ask("x", { max_tokens: "5" }), /^max_tokens: /],
  "max_tokens above the model": [ask("x", { max_tokens: 128_001 }), /128001 > 128000/],
  "no messages": [ask("x", { messages: [] }), /^messages: at least one/],
  "an unknown role": [
    ask("x", { messages: [{ role: "robot", content: "x" }] }),
    /^messages\.0\.role/,
  ],
  "the assistant first": [
    ask("x", { messages: [{ role: "assistant", content: "x" }] }),
    /first message/,
  ],
  "empty content": [ask(""), /non-empty/],
  "an unknown block": [
    ask("x", { messages: [{ role: "user", content: [{ type: "smell" }] }] }),
    /^messages\.0\.content/,
  ],
  "an unknown field": [ask("x", { colour: "blue" }), /^colour: Extra inputs/],
  "a tool result without its tool use": [
    ask("x", { messages: [{ role: "user", content: [result] }] }),
    /unexpected `tool_use_id`/,
  ],
  "a tool use without its result": [
    ask("x", {
      messages: [
        { role: "user", content: "x" },
        { role: "assistant", content: [use] },
        { role: "user", content: "next" },
      ],
    }),
    /without `tool_result` blocks immediately after: t1/,
  ],
  "a tool use at the end": [
    ask("x", {
      messages: [
        { role: "user", content: "x" },
        { role: "assistant", content: [use] },
      ],
    }),
    /without `tool_result`/,
  ],
  "a tool use by the user": [
    ask("x", { messages: [{ role: "user", content: [use] }] }),
    /can only be in `assistant`/,
  ],
  "two tools of one name": [
    ask("x", { tools: [1, 2].map(() => ({ name: "a", input_schema: { type: "object" } })) }),
    /unique/,
  ],
  "a tool without a schema": [ask("x", { tools: [{ name: "a" }] }), /input_schema/],
  "a server tool": [
    ask("x", { tools: [{ type: "web_search_20250305", name: "web_search" }] }),
    /no server tools/,
  ],
  "a tool choice without tools": [ask("x", { tool_choice: { type: "any" } }), /tool_choice/],
  "a tool choice that is not offered": [
    ask("x", {
      tools: [{ name: "a", input_schema: { type: "object" } }],
      tool_choice: { type: "tool", name: "b" },
    }),
    /'b' not found/,
  ],
  "a thinking budget as large as max_tokens": [
    ask("x", { max_tokens: 2_000, thinking: { type: "enabled", budget_tokens: 2_000 } }),
    /greater than/,
  ],
  "a prompt longer than the window": [
    ask("word ".repeat(900_000)),
    /prompt is too long: \d+ tokens > 1000000/,
  ],
  "five cache breakpoints": [
    ask("x", {
      system: [1, 2, 3, 4, 5].map((n) => ({
        type: "text",
        text: `${n}`,
        cache_control: { type: "ephemeral" },
      })),
    }),
    /maximum of 4/,
  ],
};

for (const [name, [body, message]] of Object.entries(BAD_REQUESTS)) {
  test(`400 for ${name}, billed nothing`, async () => {
    const { url, simulator } = await startSimulator();
    const { status, body: problem, headers } = await refusal(await post({ url, body }));
    expect(status).toBe(400);
    expect(problem).toMatchObject({
      type: "error",
      error: { type: "invalid_request_error", message: expect.stringMatching(message) },
    });
    expect(problem.request_id).toBe(headers.get("request-id"));
    expect(simulator.meter.report().totals).toMatchObject({
      calls: 1,
      billed_calls: 0,
      cost_nano_usd: 0,
    });
  });
}

test("401 without a key and with a wrong one; the right one passes in either header", async () => {
  const { url } = await startSimulator({ apiKey: "right" });
  for (const headers of [{ "x-api-key": "" }, { "x-api-key": "wrong" }]) {
    const { status, body } = await refusal(await post({ url, body: ask("x"), headers }));
    expect([status, body.error.type]).toEqual([401, "authentication_error"]);
  }
  expect((await post({ url, body: ask("x"), headers: { "x-api-key": "right" } })).status).toBe(200);
  const bearer = await fetch(`${url}/v1/messages`, {
    method: "POST",
    headers: { authorization: "Bearer right", "anthropic-version": "2023-06-01" },
    body: JSON.stringify(ask("x")),
  });
  expect(bearer.status).toBe(200);
});

test("400 without anthropic-version", async () => {
  const { url } = await startSimulator();
  const response = await fetch(`${url}/v1/messages`, {
    method: "POST",
    headers: { "x-api-key": "k" },
    body: JSON.stringify(ask("x")),
  });
  expect((await refusal(response)).body.error.message).toContain("anthropic-version");
});

test("404 for an unknown model, on both routes, and for an unknown path", async () => {
  const { url } = await startSimulator();
  const { max_tokens: _max, ...countBody } = ask("x", { model: "claude-0" });
  for (const [path, body] of [
    ["/v1/messages", ask("x", { model: "claude-0" })],
    ["/v1/messages/count_tokens", countBody],
    ["/v1/complete", {}],
  ] as const) {
    const answer = await refusal(await post({ url, path, body }));
    expect([answer.status, answer.body.error.type]).toEqual([404, "not_found_error"]);
  }
});

test("413 for a body over 32 MB", async () => {
  const { url } = await startSimulator();
  const answer = await refusal(await post({ url, body: ask("x".repeat(33 * 1024 * 1024)) }));
  expect([answer.status, answer.body.error.type]).toEqual([413, "request_too_large"]);
});

const STATUS_TYPES = [
  [429, "rate_limit_error"],
  [500, "api_error"],
  [529, "overloaded_error"],
] as const;

for (const [status, type] of STATUS_TYPES) {
  test(`a fault plan makes the first two calls answer ${status}, unbilled, and the third succeed`, async () => {
    const { url, simulator } = await startSimulator({
      faults: [{ kind: "status", status, times: 2 }],
    });
    for (const stream of [true, false]) {
      const answer = await refusal(await post({ url, body: ask("x", { stream }) }));
      expect([answer.status, answer.body.error.type]).toEqual([status, type]);
      expect(answer.headers.get("retry-after")).toBe(status === 429 ? "1" : null);
    }
    expect((await post({ url, body: ask("x") })).status).toBe(200);
    expect(simulator.meter.report().totals).toMatchObject({ calls: 3, billed_calls: 1 });
  });
}

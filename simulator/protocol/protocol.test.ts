import { expect, test } from "vitest";
import { toolDefinitions } from "../personas/agent-fixture.ts";
import { ask, post, readEvents, startSimulator } from "../simulator-fixture.ts";
import { countTokens } from "../metering/tokens.ts";

const WEATHER = {
  name: "get_weather",
  description: "Weather of a place.",
  input_schema: {
    type: "object" as const,
    properties: {
      city: { type: "string", minLength: 3 },
      days: { type: "integer", minimum: 2 },
      unit: { enum: ["celsius", "kelvin"] },
    },
    required: ["city", "days", "unit"],
  },
};

const BODIES = {
  text: ask("Grüße an alle 👋 from here"),
  "tool use": ask("Weather?", { tools: [WEATHER], tool_choice: { type: "any" } }),
  thinking: ask("Think about it", {
    max_tokens: 4_000,
    thinking: { type: "enabled", budget_tokens: 1_024 },
  }),
  persona: ask("Profile the files", {
    system: "You are Yuki Tanaka",
    tools: toolDefinitions(["list_files", "search_files"]),
  }),
  "a cut answer": ask("a long question ".repeat(30), { max_tokens: 9 }),
};

for (const [name, body] of Object.entries(BODIES)) {
  test(`a stream adds up to the same message as a whole answer: ${name}`, async () => {
    const { client } = await startSimulator();
    const whole = await client.messages.create(body);
    const streamed: Record<string, unknown> = {
      ...(await client.messages.stream(body).finalMessage()),
    };
    // The client's own addition, not part of the protocol.
    delete streamed["parsed_output"];
    expect(streamed).toEqual({ ...whole });
  });

  test(`two servers with one seed answer with the same bytes: ${name}`, async () => {
    const [one, two, other] = await Promise.all([
      startSimulator({ seed: "x" }),
      startSimulator({ seed: "x" }),
      startSimulator({ seed: "y" }),
    ]);
    for (const stream of [true, false]) {
      const [first, second, third] = await Promise.all(
        [one, two, other].map(({ url }) => post({ url, body: { ...body, stream } })),
      );
      const text = await first!.text();
      expect(await second!.text()).toBe(text);
      expect(await third!.text()).not.toBe(text);
      expect(second!.headers.get("request-id")).toBe(first!.headers.get("request-id"));
    }
  });
}

test("a stream has the frames of the protocol in their order", async () => {
  const { url } = await startSimulator();
  const response = await post({ url, body: { ...BODIES["tool use"], stream: true } });
  expect(response.headers.get("content-type")).toContain("text/event-stream");
  expect(response.headers.get("x-guildhall-simulated")).toBe("true");
  expect(response.headers.get("request-id")).toMatch(/^req_sim_/);
  const events = readEvents(await response.text());
  for (const { event, data } of events) expect(JSON.parse(data).type).toBe(event);
  const names = events.map(({ event }) => event);
  expect(names.slice(0, 3)).toEqual(["message_start", "content_block_start", "ping"]);
  expect(names.slice(-3)).toEqual(["content_block_stop", "message_delta", "message_stop"]);
  expect(names.filter((name) => name === "content_block_delta").length).toBeGreaterThan(1);
  expect(JSON.parse(events[0]!.data).message.id).toMatch(/^msg_sim_/);
});

test("every value of max_tokens is honoured to the token, and a cut is called max_tokens", async () => {
  const { client } = await startSimulator();
  const full = await client.messages.create(ask("Grüße 👋 ".repeat(6)));
  const text = full.content[0]?.type === "text" ? full.content[0].text : "";
  const total = countTokens(text);
  expect(full.usage.output_tokens).toBe(total);
  for (let limit = 1; limit <= total + 1; limit += 1) {
    const cut = await client.messages.create({ ...ask("Grüße 👋 ".repeat(6)), max_tokens: limit });
    const block = cut.content[0];
    const kept = block?.type === "text" ? block.text : "";
    expect(cut.usage.output_tokens).toBe(Math.min(limit, total));
    expect(countTokens(kept)).toBe(cut.usage.output_tokens);
    expect(text.startsWith(kept)).toBe(true);
    expect(cut.stop_reason).toBe(limit < total ? "max_tokens" : "end_turn");
  }
});

test("a tool use that does not fit into max_tokens ends as unfinished JSON and is billed as far as it went", async () => {
  const { url, client } = await startSimulator();
  const body = { ...BODIES["tool use"], max_tokens: 8 };
  const events = readEvents(
    await (await post({ url, body: { ...body, stream: true } })).text(),
  ).map(({ data }) => JSON.parse(data));
  const json = events.flatMap((event) => event.delta?.partial_json ?? []).join("");
  expect(json).toMatch(/^\{"city"/);
  expect(() => JSON.parse(json)).toThrow(SyntaxError);
  expect(events.find((event) => event.type === "message_delta")).toMatchObject({
    delta: { stop_reason: "max_tokens" },
    usage: { output_tokens: 8 },
  });
  expect((await client.messages.create(body)).content).toMatchObject([
    { type: "tool_use", input: {} },
  ]);
});

test("a tool use never takes more tokens than max_tokens allows, not even by its name", async () => {
  const { client } = await startSimulator();
  const full = await client.messages.create(BODIES["tool use"]);
  for (let limit = 1; limit < full.usage.output_tokens; limit += 1) {
    const cut = await client.messages.create({ ...BODIES["tool use"], max_tokens: limit });
    expect(cut.stop_reason).toBe("max_tokens");
    expect(cut.usage.output_tokens).toBeLessThanOrEqual(limit);
    expect(cut.content.length).toBe(limit > countTokens("get_weather") ? 1 : 0);
  }
});

test("a stop sequence ends the answer before itself", async () => {
  const { client } = await startSimulator();
  const message = await client.messages.create(ask("one STOP two", { stop_sequences: ["STOP"] }));
  expect(message).toMatchObject({ stop_reason: "stop_sequence", stop_sequence: "STOP" });
  expect(JSON.stringify(message.content)).toContain("one ");
  expect(JSON.stringify(message.content)).not.toContain("STOP");
});

test("a foreign tool is called only when the caller forces it, with input that fits its schema", async () => {
  const { client } = await startSimulator();
  const tools = [WEATHER, ...toolDefinitions(["other"])];
  expect((await client.messages.create(ask("hi", { tools }))).stop_reason).toBe("end_turn");
  expect(
    (await client.messages.create(ask("hi", { tools, tool_choice: { type: "none" } }))).stop_reason,
  ).toBe("end_turn");
  const forced = await client.messages.create(
    ask("hi", { tools, tool_choice: { type: "tool", name: "get_weather" } }),
  );
  expect(forced.stop_reason).toBe("tool_use");
  expect(forced.content.at(-1)).toMatchObject({
    type: "tool_use",
    name: "get_weather",
    input: { city: "simulated", days: 2, unit: "celsius" },
  });
});

test("parallel tool use can be forbidden", async () => {
  const { client } = await startSimulator();
  const files =
    '{"entries":[{"path":"input/a.csv","type":"file","size_bytes":3},{"path":"input/b.csv","type":"file","size_bytes":3}]}';
  const body = {
    ...ask("Look at them"),
    system: "You are Sable Chen",
    tools: toolDefinitions(["list_files", "read_file"]),
    messages: [
      { role: "user" as const, content: "Look at them" },
      {
        role: "assistant" as const,
        content: [{ type: "tool_use" as const, id: "t1", name: "list_files", input: {} }],
      },
      {
        role: "user" as const,
        content: [{ type: "tool_result" as const, tool_use_id: "t1", content: files }],
      },
    ],
  };
  const calls = async (more: object): Promise<number> =>
    (await client.messages.create({ ...body, ...more })).content.filter(
      (block) => block.type === "tool_use",
    ).length;
  expect(await calls({})).toBe(2);
  expect(await calls({ tool_choice: { type: "auto", disable_parallel_tool_use: true } })).toBe(1);
});

test("thinking is answered with a signed block that the next request may send back", async () => {
  const { client } = await startSimulator();
  const first = await client.messages.create(BODIES.thinking);
  expect(first.content[0]).toMatchObject({
    type: "thinking",
    signature: expect.stringMatching(/^sim_/),
  });
  expect(first.usage.output_tokens_details?.thinking_tokens).toBeGreaterThan(0);
  const next = await client.messages.create({
    ...BODIES.thinking,
    messages: [
      ...BODIES.thinking.messages,
      { role: "assistant", content: first.content },
      { role: "user", content: "go on" },
    ],
  });
  expect(next.stop_reason).toBe("end_turn");
});

test("an answer without a persona says that no model read it, and quotes the message", async () => {
  const { client } = await startSimulator();
  const message = await client.messages.create(ask("What is the capital of France?"));
  expect(message.content).toMatchObject([
    { type: "text", text: expect.stringMatching(/Simulated model.*6 words[^]*capital of France/) },
  ]);
});

test("a structured output format is answered with JSON of that schema", async () => {
  const { client } = await startSimulator();
  const schema = {
    type: "object",
    properties: {
      ok: { type: "boolean" },
      tags: { type: "array", minItems: 1, items: { type: "string" } },
    },
    required: ["ok", "tags"],
  };
  const message = await client.messages.create(
    ask("hi", { output_config: { format: { type: "json_schema", schema } } }),
  );
  expect(JSON.parse(message.content[0]?.type === "text" ? message.content[0].text : "")).toEqual({
    ok: true,
    tags: ["simulated"],
  });
});

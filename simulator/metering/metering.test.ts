import { expect, test } from "vitest";
import { toolDefinitions } from "../personas/agent-fixture.ts";
import type { UsageReport } from "./meter.ts";
import { ask, MODEL, post, startSimulator } from "../simulator-fixture.ts";
import { countTokens } from "./tokens.ts";

const LONG = "a sentence that is worth caching. ".repeat(300);
const MARK = { type: "ephemeral" as const };

async function usageReport(url: string, query = ""): Promise<UsageReport> {
  return (await (await fetch(`${url}/sim/usage${query}`)).json()) as UsageReport;
}

test("the meter equals the sum of the usage that callers were told, to the last token and nano-dollar", async () => {
  const { url, client } = await startSimulator();
  const told = {
    input_tokens: 0,
    output_tokens: 0,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
  };
  for (const [index, text] of ["a", "Grüße", LONG, "👋"].entries()) {
    const system = [{ type: "text" as const, text: LONG, cache_control: MARK }];
    const body = { ...ask(text), system, max_tokens: 20 + index };
    const usages = [
      (await client.messages.create(body)).usage,
      (await client.messages.stream(body).finalMessage()).usage,
    ];
    for (const usage of usages)
      for (const kind of Object.keys(told) as (keyof typeof told)[]) told[kind] += usage[kind] ?? 0;
  }
  const { totals, calls } = await usageReport(url);
  expect(totals).toMatchObject({ ...told, calls: 8, billed_calls: 8 });
  const cost =
    told.input_tokens * 2_000 +
    told.cache_creation_input_tokens * 2_500 +
    told.cache_read_input_tokens * 100 +
    told.output_tokens * 10_000;
  expect(totals.cost_nano_usd).toBe(cost);
  expect(calls.reduce((sum, call) => sum + call.cost_nano_usd, 0)).toBe(cost);
  expect(calls.every((call) => Number.isSafeInteger(call.cost_nano_usd))).toBe(true);
});

test("a row names its caller without showing the key, and reports are filtered by tag", async () => {
  const { url } = await startSimulator();
  const body = ask("x", { metadata: { user_id: "run_7" } });
  const response = await post({
    url,
    body,
    headers: { "x-sim-tag": "blue", "x-api-key": "secret-key" },
  });
  await post({ url, body: ask("y") });
  const text = JSON.stringify(await usageReport(url, "?tag=blue"));
  expect(text).not.toContain("secret-key");
  const report = JSON.parse(text) as UsageReport;
  expect(report.totals.calls).toBe(1);
  expect(report.calls).toMatchObject([
    {
      request_id: response.headers.get("request-id"),
      metadata_user_id: "run_7",
      tag: "blue",
      model: MODEL,
      stop_reason: "end_turn",
      client_closed_early: false,
    },
  ]);
});

test("the same call twice is two rows with two request ids", async () => {
  const { url } = await startSimulator();
  const ids = [await post({ url, body: ask("x") }), await post({ url, body: ask("x") })].map(
    (response) => response.headers.get("request-id"),
  );
  expect(new Set(ids).size).toBe(2);
  expect((await usageReport(url)).calls.map((call) => call.request_id)).toEqual(ids);
});

test("count_tokens answers exactly what the call is billed as input", async () => {
  const { client } = await startSimulator();
  const image = {
    type: "image" as const,
    source: { type: "base64" as const, media_type: "image/png" as const, data: "aGk=" },
  };
  const body = {
    model: MODEL,
    system: [{ type: "text" as const, text: LONG, cache_control: MARK }],
    tools: toolDefinitions(["read_file", "write_file"]),
    messages: [
      { role: "user" as const, content: [image, { type: "text" as const, text: "Grüße 👋" }] },
      {
        role: "assistant" as const,
        content: [{ type: "tool_use" as const, id: "t", name: "read_file", input: { path: "ä" } }],
      },
      {
        role: "user" as const,
        content: [{ type: "tool_result" as const, tool_use_id: "t", content: "line" }],
      },
    ],
  };
  const { input_tokens: counted } = await client.messages.countTokens(body);
  for (const kind of ["cache_creation_input_tokens", "cache_read_input_tokens"] as const) {
    const { usage } = await client.messages.create({ ...body, max_tokens: 50 });
    expect(usage[kind]).toBeGreaterThan(0);
    expect(
      usage.input_tokens +
        (usage.cache_creation_input_tokens ?? 0) +
        (usage.cache_read_input_tokens ?? 0),
    ).toBe(counted);
  }
});

test("input tokens never exceed the bytes of what the model sees", async () => {
  const { client } = await startSimulator();
  for (const text of ["a", "ä", "👋", "ab", LONG]) {
    const { input_tokens: tokens } = await client.messages.countTokens({
      model: MODEL,
      messages: [{ role: "user", content: text }],
    });
    expect(tokens).toBeGreaterThan(0);
    expect(tokens).toBeLessThanOrEqual(Buffer.byteLength(text));
  }
});

test("a marked prefix is written once and read afterwards, by the same key only, until its time is over", async () => {
  let nowMs = 1_000_000;
  const { url } = await startSimulator({ clock: () => nowMs });
  const call = async (key: string, question: string): Promise<number[]> => {
    const system = [{ type: "text", text: LONG, cache_control: MARK }];
    const response = await post({
      url,
      body: ask(question, { system }),
      headers: { "x-api-key": key },
    });
    const { usage } = (await response.json()) as { usage: Record<string, number> };
    return [
      usage["input_tokens"]!,
      usage["cache_creation_input_tokens"]!,
      usage["cache_read_input_tokens"]!,
    ];
  };
  const tokens = Math.ceil(LONG.length / 4);
  expect(await call("a", "one?")).toEqual([1, tokens, 0]);
  expect(await call("a", "two?")).toEqual([1, 0, tokens]);
  expect(await call("b", "two?")).toEqual([1, tokens, 0]);
  nowMs += 299_000;
  expect(await call("a", "two?")).toEqual([1, 0, tokens]);
  nowMs += 299_000;
  expect(await call("a", "a read had renewed it")).toEqual([6, 0, tokens]);
  nowMs += 300_000;
  expect(await call("a", "two?")).toEqual([1, tokens, 0]);
});

test("one hour and five minutes are told apart and priced apart", async () => {
  const { client, simulator } = await startSimulator();
  const system = [
    { type: "text" as const, text: LONG, cache_control: { ...MARK, ttl: "1h" as const } },
    { type: "text" as const, text: LONG, cache_control: MARK },
  ];
  const { usage } = await client.messages.create({ ...ask("four"), system });
  const tokens = Math.ceil(LONG.length / 4);
  expect(usage.cache_creation).toEqual({
    ephemeral_1h_input_tokens: tokens,
    ephemeral_5m_input_tokens: tokens,
  });
  const [row] = simulator.meter.report().calls;
  expect(row!.cost_nano_usd).toBe(
    1 * 2_000 + tokens * 4_000 + tokens * 2_500 + usage.output_tokens * 10_000,
  );
});

test("a conversation that grows reads the part that it had before", async () => {
  const { client } = await startSimulator();
  const first = { role: "user" as const, content: LONG };
  const body = { ...ask(""), cache_control: MARK };
  const one = await client.messages.create({ ...body, messages: [first] });
  const two = await client.messages.create({
    ...body,
    messages: [first, { role: "assistant", content: "yes" }, { role: "user", content: LONG }],
  });
  expect(two.usage.cache_read_input_tokens).toBe(one.usage.cache_creation_input_tokens);
  expect(two.usage.cache_creation_input_tokens).toBe(Math.ceil(LONG.length / 4) + 1);
});

test("a prefix below the minimum of the model is not cached", async () => {
  const { client } = await startSimulator();
  const system = [{ type: "text" as const, text: "short", cache_control: MARK }];
  expect((await client.messages.create({ ...ask("x"), system })).usage).toMatchObject({
    cache_creation_input_tokens: 0,
    input_tokens: 3,
  });
});

test("a prompt beyond the mark of its model is priced at the dearer rate as a whole", async () => {
  const { client, simulator } = await startSimulator();
  const model = "claude-haiku-5-5";
  await client.messages.create({ ...ask("word".repeat(100_000)), model, max_tokens: 1 });
  await client.messages.create({ ...ask("word".repeat(100_001)), model, max_tokens: 1 });
  expect(simulator.meter.report().calls.map((call) => call.cost_nano_usd)).toEqual([
    100_000 * 100 + 500,
    100_001 * 500 + 2_500,
  ]);
});

test("a client that closes a stream stops the generation, and pays for the input and what was generated", async () => {
  const { client, simulator } = await startSimulator();
  const body = ask("many words to say ".repeat(30));
  const full = (await client.messages.create(body)).usage;
  // The silence holds the generation at event 8, so that what had been generated is known exactly.
  const fault = JSON.stringify({ kind: "stall", ms: 600_000, before_event: 8 });
  const stream = await client.messages.create(
    { ...body, stream: true },
    { headers: { "x-sim-fault": fault } },
  );
  let text = "";
  let deltas = 0;
  for await (const event of stream) {
    if (event.type !== "content_block_delta" || event.delta.type !== "text_delta") continue;
    text += event.delta.text;
    deltas += 1;
    if (deltas === 5) break;
  }
  await expect.poll(() => simulator.meter.report().calls[1]?.finished_at).not.toBeNull();
  const row = simulator.meter.report().calls[1];
  expect(row).toMatchObject({
    client_closed_early: true,
    stop_reason: null,
    input_tokens: full.input_tokens,
    output_tokens: countTokens(text),
  });
  expect(row!.output_tokens).toBeLessThan(full.output_tokens);
  expect(row!.cost_nano_usd).toBe(full.input_tokens * 2_000 + row!.output_tokens * 10_000);
});

test("a client that does not wait for a whole answer still pays for the input", async () => {
  const { url, simulator } = await startSimulator({
    latency: { firstByteMs: 600_000, perEventMs: 0 },
  });
  const abort = new AbortController();
  const headers = { "x-api-key": "k", "anthropic-version": "2023-06-01" };
  const pending = fetch(`${url}/v1/messages`, {
    method: "POST",
    headers,
    body: JSON.stringify(ask("x")),
    signal: abort.signal,
  });
  await expect.poll(() => simulator.meter.report().totals.billed_calls).toBe(1);
  abort.abort();
  await expect(pending).rejects.toThrow("aborted");
  await expect
    .poll(() => simulator.meter.report().calls[0])
    .toMatchObject({ client_closed_early: true, output_tokens: 0, input_tokens: 1 });
});

test("the price list is labelled as simulated and holds integers only", async () => {
  const { url } = await startSimulator();
  const list = (await (await fetch(`${url}/sim/prices`)).json()) as {
    label: string;
    models: Record<string, unknown>[];
  };
  expect(list.label).toBe("simulated list prices");
  expect(list.models.length).toBeGreaterThan(5);
  for (const { display_name: name, ...rest } of list.models) {
    expect(name).toContain("simulated");
    for (const value of Object.values(rest))
      if (typeof value === "number") expect(Number.isSafeInteger(value)).toBe(true);
  }
});

test("a reset empties meter and cache, and the server is healthy", async () => {
  const { url, client } = await startSimulator();
  const body = {
    ...ask("x"),
    system: [{ type: "text" as const, text: LONG, cache_control: MARK }],
  };
  const first = await client.messages.create(body);
  await post({ url, path: "/sim/reset", body: "" });
  expect((await usageReport(url)).totals).toMatchObject({ calls: 0, cost_nano_usd: 0 });
  expect((await client.messages.create(body)).usage).toEqual(first.usage);
  expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: "ok", simulated: true });
});

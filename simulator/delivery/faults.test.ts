import { expect, test } from "vitest";
import { countTokens } from "../metering/tokens.ts";
import type { Received } from "../simulator-fixture.ts";
import { ask, post, readEvents, receive, startSimulator } from "../simulator-fixture.ts";

const QUESTION = "Grüße an alle 👋, what is new?";
const STREAM = ask(QUESTION, { stream: true });

type WireEvent = {
  type: string;
  usage?: Record<string, number>;
  message?: { usage?: Record<string, number> | null };
};

function eventsOf(received: Received): WireEvent[] {
  return readEvents(received.body.toString()).map(({ data }) => JSON.parse(data) as WireEvent);
}

test("a cut destroys the socket after exactly N bytes, all along the response, and what was generated stays billed", async () => {
  const { url, simulator } = await startSimulator();
  const whole = await receive({ url, body: STREAM });
  const { output_tokens: full, input_tokens: input } = simulator.meter.report().totals;
  expect(whole.complete).toBe(true);
  let lastBilled = 0;
  for (let bytes = 0; bytes <= whole.body.length; bytes += 7) {
    const cut = await receive({ url, body: STREAM, fault: { kind: "cut", after_bytes: bytes } });
    expect(cut.status).toBe(200);
    expect(cut.complete).toBe(false);
    expect(cut.body.equals(whole.body.subarray(0, bytes))).toBe(true);
    const row = simulator.meter.report().calls.at(-1)!;
    expect(row).toMatchObject({ fault: "cut", client_closed_early: false, input_tokens: input });
    expect(row.output_tokens).toBeGreaterThanOrEqual(lastBilled);
    expect(row.output_tokens).toBeLessThanOrEqual(full);
    lastBilled = row.output_tokens;
  }
  expect(lastBilled).toBe(full);
});

test("text that arrived before a cut is always billed, also when the cut is at the end of its frame", async () => {
  const { url, simulator } = await startSimulator();
  const whole = await receive({ url, body: STREAM });
  const frames = whole.body.toString().split(/(?<=\n\n)/);
  let bytes = 0;
  let text = "";
  for (const frame of frames) {
    bytes += Buffer.byteLength(frame);
    text += /"type":"text_delta","text":("(?:[^"\\]|\\.)*")/.exec(frame)?.[1]?.slice(1, -1) ?? "";
    await receive({ url, body: STREAM, fault: { kind: "cut", after_bytes: bytes } });
    const billed = simulator.meter.report().calls.at(-1)?.output_tokens;
    expect(billed).toBeGreaterThanOrEqual(countTokens(text.replaceAll("\\n", "\n")));
  }
  expect(text).toContain("Grüße");
});

test("a cut also breaks an answer that is not streamed", async () => {
  const { url } = await startSimulator();
  const cut = await receive({ url, body: ask(QUESTION), fault: { kind: "cut", after_bytes: 40 } });
  expect([cut.body.length, cut.complete]).toEqual([40, false]);
});

test("a hang-up gives no byte of a response, and the input is billed", async () => {
  const { url, simulator } = await startSimulator();
  for (const stream of [true, false]) {
    expect(
      await receive({ url, body: ask(QUESTION, { stream }), fault: { kind: "hang_up" } }),
    ).toMatchObject({ status: 0, complete: false });
    expect(simulator.meter.report().calls.at(-1)).toMatchObject({
      fault: "hang_up",
      output_tokens: 0,
      client_closed_early: false,
    });
  }
  expect(simulator.meter.report().totals.input_tokens).toBeGreaterThan(0);
});

test("a half-close ends the response in good order without message_stop, or after N bytes", async () => {
  const { url } = await startSimulator();
  const half = await receive({ url, body: STREAM, fault: { kind: "half_close" } });
  expect(half.complete).toBe(true);
  expect(eventsOf(half).at(-1)?.type).toBe("message_delta");
  const early = await receive({
    url,
    body: STREAM,
    fault: { kind: "half_close", after_bytes: 100 },
  });
  expect([early.complete, early.body.length]).toEqual([true, 100]);
  const whole = await receive({ url, body: ask(QUESTION), fault: { kind: "half_close" } });
  expect(whole.complete).toBe(true);
  expect(() => JSON.parse(whole.body.toString())).toThrow(SyntaxError);
});

const STALLS = {
  "before the headers": { at: "before_headers" },
  "before the first event": { before_event: 0 },
  "after message_start": {},
};

for (const [name, at] of Object.entries(STALLS)) {
  test(`a stall ${name} is silence, and a client that gives up is billed for what it had`, async () => {
    const { url, simulator } = await startSimulator();
    const fault = JSON.stringify({ kind: "stall", ms: 600_000, ...at });
    const abort = new AbortController();
    const headers = { "x-api-key": "k", "anthropic-version": "2023-06-01", "x-sim-fault": fault };
    const pending = fetch(`${url}/v1/messages`, {
      method: "POST",
      headers,
      body: JSON.stringify(STREAM),
      signal: abort.signal,
    });
    if (name !== "before the headers") {
      const reader = (await pending).body!.getReader();
      if (name === "after message_start")
        expect(Buffer.from((await reader.read()).value ?? []).toString()).toContain(
          "message_start",
        );
    } else await expect.poll(() => simulator.meter.report().totals.billed_calls).toBe(1);
    abort.abort();
    await pending.catch(() => undefined);
    await expect.poll(() => simulator.meter.report().calls[0]?.finished_at).not.toBeNull();
    const [row] = simulator.meter.report().calls;
    expect(row).toMatchObject({
      client_closed_early: true,
      stop_reason: null,
      output_tokens: name === "after message_start" ? 1 : 0,
    });
    expect(row!.input_tokens).toBeGreaterThan(0);
  });
}

test("a stall that ends lets the answer through unchanged", async () => {
  const { url } = await startSimulator();
  const whole = await receive({ url, body: STREAM });
  const stalled = await receive({
    url,
    body: STREAM,
    fault: { kind: "stall", ms: 5, before_event: 3 },
  });
  expect(stalled.body.equals(whole.body)).toBe(true);
});

test("split UTF-8 sends the same bytes with every character and line torn apart", async () => {
  const { url } = await startSimulator();
  const whole = await receive({ url, body: STREAM });
  const split = await receive({
    url,
    body: STREAM,
    fault: { kind: "malformed", form: "split_utf8" },
  });
  expect(split.body.equals(whole.body)).toBe(true);
  expect(split.chunks.length).toBe(whole.body.length);
});

const MALFORMED: Record<string, (whole: string, got: string) => void> = {
  crlf: (whole, got) => expect(got).toBe(whole.replaceAll("\n", "\r\n")),
  bom: (whole, got) => expect(Buffer.from(got).toString()).toBe(`\uFEFF${whole}`),
  comments: (whole, got) =>
    expect(got.replaceAll(": simulated comment\nid: 7\nretry: 1000\n", "")).toBe(whole),
  unknown_event: (whole, got) => {
    expect(got).toContain("event: simulated_unknown\n");
    expect(got.replaceAll(/event: simulated_unknown\ndata: .*\n\n/g, "")).toBe(whole);
  },
  long_line: (whole, got) => {
    expect(got.length).toBeGreaterThan(10 * 1024 * 1024);
    expect(got.replace(/event: simulated_filler\ndata: .*\n\n/, "")).toBe(whole);
  },
  no_blank_line: (whole, got) => {
    expect(got).not.toMatch(/\n\nevent: message_stop/);
    expect(got).toMatch(/\nevent: message_stop\ndata: \{"type":"message_stop"\}$/);
    expect(got).toContain(whole.slice(0, whole.indexOf("event: message_delta")));
  },
  bad_json: (_whole, got) =>
    expect(() => readEvents(got).map(({ data }) => JSON.parse(data) as unknown)).toThrow(
      SyntaxError,
    ),
};

for (const [form, check] of Object.entries(MALFORMED)) {
  test(`malformed frames: ${form}; the meter is not touched by it`, async () => {
    const { url, simulator } = await startSimulator();
    const whole = await receive({ url, body: STREAM });
    const got = await receive({ url, body: STREAM, fault: { kind: "malformed", form } });
    check(whole.body.toString(), got.body.toString());
    const [plain, bent] = simulator.meter.report().calls;
    expect(bent).toMatchObject({
      cost_nano_usd: plain!.cost_nano_usd,
      output_tokens: plain!.output_tokens,
      fault: "malformed",
    });
  });
}

type UsageCheck = (usage: { start: WireEvent; end: WireEvent; truth: number }) => void;

const WRONG_USAGE: Record<string, UsageCheck> = {
  missing: ({ start, end }) =>
    expect(["usage" in start.message!, "usage" in end]).toEqual([false, false]),
  null: ({ start, end }) => expect([start.message!.usage, end.usage]).toEqual([null, null]),
  negative: ({ end, truth }) => expect(end.usage!["output_tokens"]).toBe(-truth),
  decreasing: ({ start, end }) =>
    expect(end.usage!["output_tokens"]).toBeLessThan(start.message!.usage!["output_tokens"]!),
  times_ten: ({ end, truth }) => expect(end.usage!["output_tokens"]).toBe(truth * 10),
  unknown_kind: ({ end, truth }) =>
    expect(end.usage).toMatchObject({ output_tokens: truth, simulated_mystery_tokens: 777 }),
};

for (const [form, check] of Object.entries(WRONG_USAGE)) {
  test(`wrong usage on the wire: ${form}; the meter keeps the truth`, async () => {
    const { url, simulator } = await startSimulator();
    await receive({ url, body: STREAM });
    const events = eventsOf(await receive({ url, body: STREAM, fault: { kind: "usage", form } }));
    const [plain, bent] = simulator.meter.report().calls;
    expect(bent!.cost_nano_usd).toBe(plain!.cost_nano_usd);
    check({ start: events[0]!, end: events.at(-2)!, truth: plain!.output_tokens });
  });
}

test("an error event takes the place of event k, at every k, and ends the stream", async () => {
  const { url, simulator } = await startSimulator();
  const whole = eventsOf(await receive({ url, body: STREAM }));
  const full = simulator.meter.report().totals.output_tokens;
  for (const [at] of whole.entries()) {
    const got = await receive({ url, body: STREAM, fault: { kind: "error_event", at } });
    expect(got.complete).toBe(true);
    expect(eventsOf(got).slice(0, at)).toEqual(whole.slice(0, at));
    expect(eventsOf(got).slice(at)).toMatchObject([
      {
        type: "error",
        error: { type: "overloaded_error" },
        request_id: expect.stringMatching(/^req_sim_/),
      },
    ]);
    const row = simulator.meter.report().calls.at(-1)!;
    expect(row.output_tokens).toBeLessThanOrEqual(full);
    expect(row).toMatchObject({ stop_reason: null, fault: "error_event" });
  }
});

test("faults hit the calls they are meant for: by number, by tag, by model, and as often as told", async () => {
  const { url } = await startSimulator();
  const fault = { kind: "status", status: 500 };
  const plan = [
    { ...fault, match: { nth: 2 } },
    { ...fault, match: { tag: "unlucky" }, times: 1 },
    { ...fault, match: { model: "claude-opus-5-5" } },
  ];
  expect((await post({ url, path: "/sim/faults", body: plan })).status).toBe(200);
  const status = async (more: { tag?: string; model?: string } = {}): Promise<number> => {
    const headers = more.tag === undefined ? {} : { "x-sim-tag": more.tag };
    return (
      await post({
        url,
        body: ask("x", more.model === undefined ? {} : { model: more.model }),
        headers,
      })
    ).status;
  };
  expect([await status(), await status(), await status()]).toEqual([200, 500, 200]);
  expect([await status({ tag: "unlucky" }), await status({ tag: "unlucky" })]).toEqual([500, 200]);
  expect([
    await status({ model: "claude-opus-5-5" }),
    await status({ model: "claude-opus-5-5" }),
  ]).toEqual([500, 500]);
  expect((await post({ url, path: "/sim/reset", body: "" })).status).toBe(200);
  expect([await status(), await status()]).toEqual([200, 200]);
});

test("a fault plan that is none is refused with the reason, and changes nothing", async () => {
  const { url } = await startSimulator({ faults: [{ kind: "status", status: 529 }] });
  for (const body of ["nonsense", [{ kind: "earthquake" }], [{ kind: "cut", after_bytes: -1 }]]) {
    const response = await post({ url, path: "/sim/faults", body });
    expect(response.status).toBe(400);
    expect(await response.text()).toContain("fault plan");
  }
  expect((await post({ url, body: ask("x") })).status).toBe(529);
  expect((await post({ url, body: ask("x"), headers: { "x-sim-fault": "{" } })).status).toBe(400);
});

import { request } from "node:http";
import Anthropic from "@anthropic-ai/sdk";
import { afterAll, describe, expect, test } from "vitest";
import type { FaultPlan } from "../../../simulator/delivery/faults.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  expectLaws,
  balanceOf,
  clientOf,
  holdsOf,
  post,
  quiet,
  SMALL,
  startBoth,
  startRun,
  type HoldRow,
} from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

type Fault = FaultPlan[number];

/** One call under a fault; what the client got, what the ledger says and what the provider's meter says. */
async function callUnder(fault: Fault, options: { stream: boolean; maxTokens?: number }) {
  const both = await startBoth(database, {
    provider: { faults: [fault] },
    limits: { idleTimeoutMs: 5_000, callTimeoutMs: 10_000 },
  });
  const run = await startRun(database);
  const response = await post(both.url, {
    token: run.token,
    body: {
      ...SMALL,
      max_tokens: options.maxTokens ?? SMALL.max_tokens,
      stream: options.stream,
    },
  });
  const text = await response.text();
  const holds = await quiet(database, run);
  return { ...both, run, response, text, holds, calls: both.simulator.meter.report().calls };
}

/** Law of truth: tenant and overrun together pay at least what the provider charges, the tenant at most what was held. */
function expectTruth(holds: readonly HoldRow[], costs: readonly number[]): void {
  expect(holds).toHaveLength(costs.length);
  for (const [index, hold] of holds.entries()) {
    expect(hold.posted! + hold.overrun).toBeGreaterThanOrEqual(costs[index]!);
    expect(hold.posted!).toBeLessThanOrEqual(hold.amount);
  }
}

describe.each([true, false])("faults of the provider (stream: %s)", (stream) => {
  test.each<Fault>([
    { kind: "hang_up" },
    { kind: "cut", after_bytes: 0 },
    { kind: "cut", after_bytes: 300 },
    { kind: "half_close" },
    { kind: "half_close", after_bytes: 200 },
    { kind: "usage", form: "missing" },
    { kind: "usage", form: "null" },
    { kind: "usage", form: "negative" },
    { kind: "usage", form: "unknown_kind" },
  ])("an outcome that is not known is charged as held: %o", async (fault) => {
    const { holds, calls, run } = await callUnder(fault, { stream });
    expect(holds).toMatchObject([{ state: "PROVISIONAL", posted: holds[0]!.amount, overrun: 0 }]);
    expectTruth(
      holds,
      calls.map((call) => call.cost_nano_usd),
    );
    expect(await balanceOf(database, run)).toEqual({ posted: holds[0]!.amount, held: 0 });
  });

  test.each<Fault>([
    // One report alone cannot fall: that an answer without a stream tells less than the truth cannot be seen.
    ...(stream ? [{ kind: "usage", form: "decreasing" } as const] : []),
    { kind: "usage", form: "times_ten" },
  ])(
    "wrong usage never lets the tenant pay more than held, nor both less than it cost: %o",
    async (fault) => {
      const { holds, calls } = await callUnder(fault, { stream });
      expectTruth(
        holds,
        calls.map((call) => call.cost_nano_usd),
      );
    },
  );

  test.each<Fault>([
    { kind: "malformed", form: "split_utf8" },
    { kind: "malformed", form: "crlf" },
    { kind: "malformed", form: "unknown_event" },
    { kind: "malformed", form: "bom" },
    { kind: "malformed", form: "no_blank_line" },
    { kind: "malformed", form: "comments" },
    { kind: "malformed", form: "long_line" },
  ])("a strange but complete answer is charged exactly: %o", async (fault) => {
    const { holds, calls, response } = await callUnder(fault, { stream });
    expect(response.status).toBe(200);
    expect(holds).toMatchObject([{ state: "SETTLED", posted: calls[0]!.cost_nano_usd }]);
  });

  test("a charge above its hold is borne by the platform, and such calls are stopped", async () => {
    const { holds, calls, url, run } = await callUnder(
      { kind: "usage", form: "times_ten", times: 1 },
      { stream, maxTokens: 60 },
    );
    expect(calls[0]!.output_tokens).toBeGreaterThan(10);
    expect(holds).toMatchObject([{ state: "SETTLED", posted: holds[0]!.amount }]);
    expect(holds[0]!.posted! + holds[0]!.overrun).toBe(10 * calls[0]!.cost_nano_usd);
    const frozen = await post(url, { token: run.token, body: SMALL });
    expect(frozen.status).toBe(503);
    expect(await frozen.json()).toMatchObject({ error: { code: "model_frozen" } });
    const other = await post(url, {
      token: run.token,
      body: { ...SMALL, model: "claude-opus-5-5" },
    });
    expect(other.status).toBe(200);
    await other.text();
  });

  test("a status before the first byte costs nothing and is tried again, each time with a hold of its own", async () => {
    const fault: Fault = { kind: "status", status: 529, times: 2 };
    const { holds, calls, response, text } = await callUnder(fault, { stream });
    expect(response.status).toBe(200);
    expect(text).toContain("end_turn");
    expect(holds).toMatchObject([
      { state: "SETTLED", posted: 0, call_no: 1, attempt_no: 1 },
      { state: "SETTLED", posted: 0, call_no: 1, attempt_no: 2 },
      { state: "SETTLED", posted: calls[2]!.cost_nano_usd, call_no: 1, attempt_no: 3 },
    ]);
  });

  test.each([429, 500, 503, 529] as const)(
    "%i is given up after four attempts, and clients are told not to multiply them",
    async (status) => {
      const { holds, response, text } = await callUnder(
        { kind: "status", status, retry_after_seconds: 0 },
        { stream },
      );
      expect(response.status).toBe(status);
      expect(response.headers.get("x-should-retry")).toBe("false");
      expect(JSON.parse(text)).toMatchObject({
        type: "error",
        error: { message: expect.any(String) },
      });
      expect(holds.map(({ state, posted }) => ({ state, posted }))).toEqual(
        Array.from({ length: 4 }, () => ({ state: "SETTLED", posted: 0 })),
      );
    },
  );

  test("a pause that the provider asks for and that is too long is left to the client", async () => {
    const { holds, response } = await callUnder(
      { kind: "status", status: 429, retry_after_seconds: 120 },
      { stream },
    );
    expect(response.status).toBe(429);
    expect(response.headers.get("retry-after")).toBe("120");
    expect(holds).toHaveLength(1);
  });

  test.each([400, 404, 413] as const)("%i passes through once, at no cost", async (status) => {
    const fault: Fault = { kind: "status", status, message: "told by the provider" };
    const { holds, response, text } = await callUnder(fault, { stream });
    expect(response.status).toBe(status);
    expect(JSON.parse(text)).toMatchObject({ error: { message: "told by the provider" } });
    expect(holds).toMatchObject([{ state: "SETTLED", posted: 0 }]);
  });

  test.each([401, 403] as const)(
    "a provider that refuses the installation's key (%i) is not the client's fault",
    async (status) => {
      const { holds, response, text } = await callUnder({ kind: "status", status }, { stream });
      expect(response.status).toBe(502);
      expect(JSON.parse(text)).toMatchObject({ error: { code: "provider_refused_installation" } });
      expect(holds).toMatchObject([{ state: "SETTLED", posted: 0 }]);
    },
  );

  test.each([
    "Your credit balance is too low to access the Anthropic API.",
    "You have reached your specified API usage limits.",
  ])("a 400 about the installation's account is not the client's fault: %s", async (message) => {
    const fault: Fault = { kind: "status", status: 400, message };
    const { holds, response, text } = await callUnder(fault, { stream });
    expect(response.status).toBe(502);
    expect(JSON.parse(text)).toMatchObject({ error: { code: "provider_refused_installation" } });
    expect(text).not.toContain(message);
    expect(holds).toMatchObject([{ state: "SETTLED", posted: 0 }]);
  });

  test("a gateway timeout at the provider may have been billed: charged as held", async () => {
    const { holds, response } = await callUnder({ kind: "status", status: 504 }, { stream });
    expect(response.status).toBe(504);
    expect(holds).toMatchObject([{ state: "PROVISIONAL" }]);
  });
});

describe("faults inside a stream", () => {
  test.each([0, 1, 2, 3, 5])(
    "an error event at place %i passes through, and what was seen is kept",
    async (at) => {
      const { holds, calls, text, response } = await callUnder(
        { kind: "error_event", at, error_type: "overloaded_error", message: "Overloaded" },
        { stream: true },
      );
      expect(response.status).toBe(200);
      expect(text.trim().split("\n\n").at(-1)).toMatch(/^event: error\ndata: .*overloaded_error/);
      expect(holds).toMatchObject([{ state: "PROVISIONAL" }]);
      expectTruth(
        holds,
        calls.map((call) => call.cost_nano_usd),
      );
      if (at > 0) expect(holds[0]!.usage).toMatchObject({ input_tokens: calls[0]!.input_tokens });
    },
  );

  test("content that cannot be read does not disturb the charge", async () => {
    const { holds, calls } = await callUnder(
      { kind: "malformed", form: "bad_json" },
      { stream: true },
    );
    expect(holds).toMatchObject([{ state: "SETTLED", posted: calls[0]!.cost_nano_usd }]);
  });

  test("silence ends the call after the limit, charged as held, with an error that the official client raises", async () => {
    const both = await startBoth(database, {
      provider: { faults: [{ kind: "stall", ms: 60_000, before_event: 3 }] },
      limits: { idleTimeoutMs: 100 },
    });
    const run = await startRun(database);
    const error = await clientOf(both.url, run)
      .messages.stream(SMALL)
      .finalMessage()
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Anthropic.APIError);
    expect(error).toMatchObject({ error: { error: { code: "provider_timeout" } } });
    expect(await quiet(database, run)).toMatchObject([{ state: "PROVISIONAL" }]);
  });

  test("a provider that never answers is given up in the same way", async () => {
    const both = await startBoth(database, {
      provider: { faults: [{ kind: "stall", ms: 60_000, at: "before_headers" }] },
      limits: { idleTimeoutMs: 100 },
    });
    const run = await startRun(database);
    const response = await post(both.url, { token: run.token, body: { ...SMALL, stream: true } });
    expect(response.status).toBe(504);
    expect(await quiet(database, run)).toMatchObject([{ state: "PROVISIONAL" }]);
  });

  test("a provider that nobody answers for costs nothing", async () => {
    const both = await startBoth(database);
    await both.simulator.close();
    const run = await startRun(database);
    const response = await post(both.url, { token: run.token, body: SMALL });
    expect(response.status).toBe(502);
    expect(await response.json()).toMatchObject({ error: { code: "provider_unreachable" } });
    const holds = await quiet(database, run);
    expect(holds.map((hold) => hold.posted)).toEqual([0, 0, 0, 0]);
  });

  test("a stream that breaks anywhere is never charged below its cost nor above its hold", async () => {
    const both = await startBoth(database);
    const run = await startRun(database, { modelCallLimit: 100_000 });
    const body = { ...SMALL, max_tokens: 6, stream: true };
    const whole = Buffer.byteLength(
      await (await post(both.url, { token: run.token, body })).text(),
    );
    const faults = (plan: FaultPlan) =>
      post(both.providerUrl, { path: "/sim/faults", token: "", body: plan });
    const cuts = Array.from({ length: whole + 1 }, (_, bytes) => bytes);
    await faults(
      cuts.map((after_bytes, index) => ({ kind: "cut", after_bytes, match: { nth: index + 1 } })),
    );
    let place = 0;
    const worker = async (): Promise<void> => {
      while (place < cuts.length) {
        place += 1;
        await (await post(both.url, { token: run.token, body })).text().catch(() => "");
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    const holds = await quiet(database, run);
    const { totals, calls } = both.simulator.meter.report();
    expect(holds).toHaveLength(cuts.length + 1);
    for (const hold of holds) {
      expect(["SETTLED", "PROVISIONAL"]).toContain(hold.state);
      expect(hold.posted!).toBeLessThanOrEqual(hold.amount);
      expect(hold.overrun).toBe(0);
      if (hold.state === "PROVISIONAL") expect(hold.posted).toBe(hold.amount);
    }
    // All calls are alike, so each charge can be compared with the dearest call of the provider's meter.
    const dearest = Math.max(...calls.map((call) => call.cost_nano_usd));
    for (const hold of holds)
      expect(hold.posted!).toBeGreaterThanOrEqual(hold.state === "SETTLED" ? dearest : 0);
    expect(holds.reduce((sum, hold) => sum + hold.posted!, 0)).toBeGreaterThanOrEqual(
      totals.cost_nano_usd,
    );
    // Clean ends: the first call, and those whose last frame came whole but for its blank line.
    expect(holds.filter((hold) => hold.state === "SETTLED")).toHaveLength(4);
  }, 120_000);
});

/** Sends a streamed call and breaks the connection after so many bytes of its answer. */
function abandon(url: string, input: { token: string; afterBytes: number }): Promise<void> {
  return new Promise((resolve) => {
    const call = request(
      `${url}/v1/messages`,
      { method: "POST", headers: { "x-api-key": input.token }, agent: false },
      (response) => {
        let bytes = 0;
        const check = (): void => {
          if (bytes >= input.afterBytes) call.destroy();
        };
        response.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          check();
        });
        response.on("error", () => {});
        response.on("close", resolve);
        check();
      },
    );
    call.on("error", () => resolve());
    call.end(JSON.stringify({ ...SMALL, stream: true }));
  });
}

describe("a client that goes away", () => {
  test("is charged for the whole answer, which is read to its end and kept for a later attempt", async () => {
    const both = await startBoth(database, {
      provider: { latency: { firstByteMs: 0, perEventMs: 2 } },
    });
    const run = await startRun(database);
    await abandon(both.url, { token: run.token, afterBytes: 1 });
    const holds = await quiet(database, run);
    const [call] = both.simulator.meter.report().calls;
    expect(holds).toMatchObject([{ state: "SETTLED", posted: call!.cost_nano_usd }]);
    expect(call).toMatchObject({ client_closed_early: false });
  });

  test("cannot dodge the charge by leaving at any moment", async () => {
    const both = await startBoth(database, {
      provider: { latency: { firstByteMs: 1, perEventMs: 1 } },
    });
    const run = await startRun(database);
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        abandon(both.url, { token: run.token, afterBytes: index * 60 }),
      ),
    );
    const holds = await quiet(database, run);
    const { totals } = both.simulator.meter.report();
    expect(holds.reduce((sum, hold) => sum + hold.posted!, 0)).toBeGreaterThanOrEqual(
      totals.cost_nano_usd,
    );
    expect((await balanceOf(database, run)).held).toBe(0);
  });

  test("does not make the gateway try a failed call again", async () => {
    const both = await startBoth(database, {
      provider: { faults: [{ kind: "status", status: 429, retry_after_seconds: 5 }] },
    });
    const run = await startRun(database);
    const leaving = new AbortController();
    const call = post(both.url, { token: run.token, body: SMALL, signal: leaving.signal });
    while ((await holdsOf(database, run))[0]?.state !== "SETTLED") await new Promise(setImmediate);
    leaving.abort();
    await expect(call).rejects.toThrow("abort");
    while (both.gateway.openCalls() > 0) await new Promise(setImmediate);
    expect(await holdsOf(database, run)).toHaveLength(1);
  });
});

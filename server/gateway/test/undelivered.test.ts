import { afterAll, describe, expect, test } from "vitest";
import type { Ledger } from "../../ledger/ledger.ts";
import { AppError } from "../../platform/errors.ts";
import { createTestDatabase } from "../../test/database.ts";
import { claimRun } from "../../test/tenant.ts";
import { startFloodingUpstream } from "./other-upstream.ts";
import {
  expectLaws,
  holdsOf,
  post,
  quiet,
  SMALL,
  startBoth,
  startGateway,
  startRun,
} from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

/** A database that takes no settlement while it is away. */
function settlingLate() {
  const state = { away: true };
  const ledger = (real: Ledger): Ledger => ({
    ...real,
    async settle(settlement) {
      if (!state.away) return real.settle(settlement);
      throw new AppError({
        code: "database_unavailable",
        status: 503,
        publicMessage: "The database cannot be reached right now.",
        retryable: true,
      });
    },
  });
  return { state, ledger };
}

/** Calls, and leaves when the first bytes of the answer have come. */
async function leaveEarly(url: string, token: string): Promise<void> {
  const leaving = new AbortController();
  const body = { ...SMALL, stream: true };
  const response = await post(url, { token, body, signal: leaving.signal });
  const reader = response.body!.getReader();
  await reader.read();
  leaving.abort();
  await reader.read().catch(() => {});
}

describe("an attempt that repeats a call whose answer did not reach it", () => {
  test.each([true, false])(
    "pays once when the charge was late, and an equal call after that is a new one (stream: %s)",
    async (stream) => {
      const { state, ledger } = settlingLate();
      const { url, simulator } = await startBoth(database, {
        ledger,
        limits: { settleWaitMs: 50 },
      });
      const run = await startRun(database);
      const call = { token: run.token, body: { ...SMALL, stream } };
      expect(await (await post(url, call)).text()).toContain("charge_not_durable");
      // Still not recorded: neither handed out nor bought again.
      const early = await post(url, call);
      expect(await early.text()).toContain("charge_not_durable");
      expect(early.status).toBe(503);
      state.away = false;
      await quiet(database, run);
      const again = await post(url, call);
      expect(again.headers.get("guildhall-replayed")).toBe("true");
      expect(await again.text()).toContain("end_turn");
      expect(await holdsOf(database, run)).toHaveLength(1);
      expect(simulator.meter.report().totals.calls).toBe(1);
      const fresh = await post(url, call);
      await fresh.text();
      expect(fresh.headers.get("guildhall-replayed")).toBeNull();
      expect(simulator.meter.report().totals.calls).toBe(2);
    },
  );

  test("pays once when it left during the answer, also while that is still being read to its end", async () => {
    const { url, simulator } = await startBoth(database, {
      provider: { latency: { firstByteMs: 0, perEventMs: 5 } },
    });
    const run = await startRun(database);
    const call = { token: run.token, body: { ...SMALL, stream: true } };
    await leaveEarly(url, run.token);
    expect((await holdsOf(database, run))[0]!.state).toBe("DISPATCHED");
    const again = await post(url, call);
    expect(again.headers.get("guildhall-replayed")).toBe("true");
    expect(await again.text()).toContain("message_stop");
    expect(simulator.meter.report().totals.calls).toBe(1);
    expect(await holdsOf(database, run)).toHaveLength(1);
  });

  test("of two repetitions at once one gets the answer and the other is a new call", async () => {
    const { url, simulator } = await startBoth(database, {
      provider: { latency: { firstByteMs: 0, perEventMs: 5 } },
    });
    const run = await startRun(database);
    const call = { token: run.token, body: { ...SMALL, stream: true } };
    await leaveEarly(url, run.token);
    const answers = await Promise.all([post(url, call), post(url, call)]);
    await Promise.all(answers.map((answer) => answer.text()));
    const replayed = answers.map((answer) => answer.headers.get("guildhall-replayed"));
    expect(replayed.filter((header) => header === "true")).toHaveLength(1);
    expect(simulator.meter.report().totals.calls).toBe(2);
  });

  test("makes the call anew when the answer that it left was broken off", async () => {
    const { url, simulator } = await startBoth(database, {
      provider: {
        latency: { firstByteMs: 0, perEventMs: 5 },
        faults: [{ kind: "cut", after_bytes: 900, times: 1 }],
      },
    });
    const run = await startRun(database);
    await leaveEarly(url, run.token);
    const again = await post(url, { token: run.token, body: { ...SMALL, stream: true } });
    expect(again.headers.get("guildhall-replayed")).toBeNull();
    expect(await again.text()).toContain("message_stop");
    expect(simulator.meter.report().totals.calls).toBe(2);
  });
});

describe("a client that repeats its call at another gateway", () => {
  const retry = { "x-stainless-retry-count": "1" };

  test("gets the answer that was paid for at the first, once", async () => {
    const one = await startBoth(database, {
      provider: { latency: { firstByteMs: 0, perEventMs: 2 } },
    });
    const two = await startGateway(database, { upstreamUrl: one.providerUrl });
    const run = await startRun(database);
    const call = { token: run.token, body: { ...SMALL, stream: true } };
    await leaveEarly(one.url, run.token);
    const stored = "SELECT FROM journal WHERE run_id = $1 AND taken_epoch = 0";
    await expect
      .poll(async () => (await database.admin.query(stored, [run.runId])).rowCount)
      .toBe(1);
    const again = await post(two.url, { ...call, headers: retry });
    expect(again.headers.get("guildhall-replayed")).toBe("true");
    expect(await again.text()).toContain("message_stop");
    expect(await holdsOf(database, run)).toHaveLength(1);
    const fresh = await post(two.url, { ...call, headers: retry });
    await fresh.text();
    expect(fresh.headers.get("guildhall-replayed")).toBeNull();
    expect(one.simulator.meter.report().totals.calls).toBe(2);
  });

  test("pays for a new answer when the first one came, whatever it says", async () => {
    const one = await startBoth(database);
    const run = await startRun(database);
    await (await post(one.url, { token: run.token, body: SMALL })).text();
    const again = await post(one.url, { token: run.token, body: SMALL, headers: retry });
    await again.text();
    expect(again.headers.get("guildhall-replayed")).toBeNull();
    expect(one.simulator.meter.report().totals.calls).toBe(2);
  });
});

test("an answer of many megabytes is kept for a later attempt too", async () => {
  const bytes = 6 * 1024 * 1024;
  const { url: upstreamUrl, taken } = await startFloodingUpstream(bytes);
  const { url } = await startGateway(database, { upstreamUrl });
  const run = await startRun(database);
  const body = { ...SMALL, model: "claude-haiku-4-5", stream: true };
  const first = await (await post(url, { token: run.token, body })).text();
  expect(first.length).toBeGreaterThan(bytes);
  const before = taken();
  const next = await claimRun(database.admin, run);
  const again = await post(url, { token: next.token, body });
  expect(again.headers.get("guildhall-replayed")).toBe("true");
  expect((await again.text()) === first).toBe(true);
  expect(taken()).toBe(before);
});

test("an attempt that makes equal calls on purpose gets a new answer each time", async () => {
  const { url, simulator } = await startBoth(database);
  const run = await startRun(database);
  for (let count = 1; count <= 3; count++) {
    const response = await post(url, { token: run.token, body: SMALL });
    await response.text();
    expect(response.headers.get("guildhall-replayed")).toBeNull();
    expect(simulator.meter.report().totals.calls).toBe(count);
  }
});

import { afterAll, describe, expect, test } from "vitest";
import type { Ledger } from "../../ledger/ledger.ts";
import { createTestDatabase } from "../../test/database.ts";
import { createClaimedRun, createTenant, type ClaimedRun } from "../../test/tenant.ts";
import {
  expectLaws,
  balanceOf,
  clientOf,
  holdsOf,
  MODEL,
  post,
  quiet,
  SMALL,
  startBoth,
  startRun,
} from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));
const BUDGET = 50_000_000;

describe("many calls at once on a small budget", () => {
  test("200 calls on $0.05 never cost the provider's meter more, use nearly all of it, and the others get a 402", async () => {
    const both = await startBoth(database, {
      provider: { latency: { firstByteMs: 1, perEventMs: 0 } },
      limits: { budgetWaitMs: 10_000 },
    });
    const tenant = await createTenant(database.admin, { costLimitNanoUsd: BUDGET });
    const runs: ClaimedRun[] = [];
    while (runs.length < 4)
      runs.push(
        await createClaimedRun(database.admin, tenant, { costLimitNanoUsd: 50_000_000_000 }),
      );
    const prompt = "Tell me about the sea. ".repeat(20);
    const body = { model: MODEL, max_tokens: 1_024, messages: [{ role: "user", content: prompt }] };
    const statuses = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const stream = index % 2 === 0;
        const response = await post(both.url, {
          token: runs[index % 4]!.token,
          body: { ...body, stream },
        });
        await response.text();
        return response.status;
      }),
    );
    const { totals } = both.simulator.meter.report();
    const holds = await quiet(database, tenant);
    expect(new Set(statuses)).toEqual(new Set([200, 402]));
    expect(totals.cost_nano_usd).toBeLessThanOrEqual(BUDGET);
    expect(await balanceOf(database, tenant)).toEqual({ posted: totals.cost_nano_usd, held: 0 });
    // What is left is less than the smallest call that could have been made.
    const smallest = Math.min(...holds.map((hold) => hold.amount));
    expect(BUDGET - totals.cost_nano_usd).toBeLessThan(smallest);
  }, 60_000);

  test("a call waits for money that an open call holds, and gets it", async () => {
    const both = await startBoth(database, {
      provider: { latency: { firstByteMs: 50, perEventMs: 1 } },
      limits: { budgetWaitMs: 10_000 },
    });
    const run = await startRun(database, { workspaceBudget: 25_000_000 });
    const client = clientOf(both.url, run);
    const answers = await Promise.all([
      client.messages.create(SMALL),
      client.messages.create(SMALL),
    ]);
    expect(answers.map((answer) => answer.type)).toEqual(["message", "message"]);
    expect(await holdsOf(database, run)).toMatchObject([
      { state: "SETTLED" },
      { state: "SETTLED" },
    ]);
  });

  test("money that stays held for too long is told apart from money that is spent", async () => {
    const both = await startBoth(database, {
      provider: { faults: [{ kind: "stall", ms: 60_000, before_event: 2, times: 1 }] },
      limits: { budgetWaitMs: 50, idleTimeoutMs: 60_000 },
    });
    const run = await startRun(database, { workspaceBudget: 25_000_000 });
    const stream = clientOf(both.url, run).messages.stream(SMALL);
    stream.on("error", () => {});
    stream.done().catch(() => {});
    await stream.withResponse();
    await expect(clientOf(both.url, run).messages.create(SMALL)).rejects.toMatchObject({
      status: 402,
      error: { error: { type: "budget_exhausted", code: "budget_reserved" } },
    });
    await both.gateway.close({ drainMs: 0 });
  });
});

/** Counts what the ledger is asked for, and can be away. */
function flaky(ledger: Ledger) {
  const gate = { settleAway: false, reserveAway: false, settles: 0, reserves: 0 };
  const away = (): Promise<never> => Promise.reject(new Error("the database is away"));
  const wrapped: Ledger = {
    ...ledger,
    reserve(request) {
      gate.reserves += 1;
      return gate.reserveAway ? away() : ledger.reserve(request);
    },
    settle(settlement) {
      gate.settles += 1;
      return gate.settleAway ? away() : ledger.settle(settlement);
    },
  };
  return { gate, wrapped };
}

async function startFlaky(options: { settleWaitMs: number }) {
  let gate: ReturnType<typeof flaky>["gate"] | undefined;
  const both = await startBoth(database, {
    limits: options,
    ledger(ledger) {
      const made = flaky(ledger);
      gate = made.gate;
      return made.wrapped;
    },
  });
  return { ...both, gate: gate! };
}

describe("when the database is away", () => {
  test("no call leaves without a durable hold", async () => {
    const { url, gate, simulator } = await startFlaky({ settleWaitMs: 1_000 });
    const run = await startRun(database);
    gate.reserveAway = true;
    const response = await post(url, { token: run.token, body: SMALL });
    expect(response.status).toBe(503);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await response.json()).toMatchObject({
      error: { type: "api_error", code: "database_unavailable" },
    });
    expect(simulator.meter.report().totals.calls).toBe(0);
    gate.reserveAway = false;
  });

  test("with the connections really gone, calls are refused with 503 and a pause, or served", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const answers = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        if (index === 3 || index === 8) await database.dropConnections();
        const response = await post(url, { token: run.token, body: SMALL });
        return {
          status: response.status,
          retry: response.headers.get("retry-after"),
          body: await response.text(),
        };
      }),
    );
    for (const { status, retry } of answers) {
      expect([200, 503]).toContain(status);
      if (status === 503) expect(Number(retry)).toBeGreaterThan(0);
    }
    const charged = (await holdsOf(database, run)).filter((hold) => hold.posted !== null);
    expect(charged.reduce((sum, hold) => sum + hold.posted!, 0)).toBeLessThanOrEqual(
      charged.reduce((sum, hold) => sum + hold.amount, 0),
    );
    expect(charged.filter((hold) => hold.posted! > 0).length).toBeLessThanOrEqual(
      simulator.meter.report().totals.calls,
    );
  });

  test.each([true, false])(
    "an answer is not complete for the client before its charge is durable (stream: %s)",
    async (stream) => {
      const { url, gate } = await startFlaky({ settleWaitMs: 10_000 });
      const run = await startRun(database);
      gate.settleAway = true;
      const call = post(url, { token: run.token, body: { ...SMALL, stream } }).then((r) =>
        r.text(),
      );
      while (gate.settles < 2) await new Promise(setImmediate);
      expect((await holdsOf(database, run))[0]!.state).toBe("DISPATCHED");
      gate.settleAway = false;
      expect(await call).toContain(stream ? "message_stop" : "end_turn");
      expect((await holdsOf(database, run))[0]!.state).toBe("SETTLED");
    },
  );

  test.each([true, false])(
    "a charge that comes too late is an error for the client, and is recorded all the same (stream: %s)",
    async (stream) => {
      const { url, gate } = await startFlaky({ settleWaitMs: 50 });
      const run = await startRun(database);
      gate.settleAway = true;
      const text = await (await post(url, { token: run.token, body: { ...SMALL, stream } })).text();
      expect(text).toContain("charge_not_durable");
      expect(text).not.toContain("message_stop");
      gate.settleAway = false;
      expect(await quiet(database, run)).toMatchObject([{ state: "SETTLED" }]);
    },
  );
});

describe("a gateway that stops", () => {
  test("lets open calls come to their end, and takes no more", async () => {
    const both = await startBoth(database, {
      provider: { latency: { firstByteMs: 0, perEventMs: 5 } },
    });
    const run = await startRun(database);
    const stream = clientOf(both.url, run).messages.stream(SMALL);
    await stream.withResponse();
    expect(both.gateway.openCalls()).toBe(1);
    const [message] = await Promise.all([
      stream.finalMessage(),
      both.gateway.close({ drainMs: 20_000 }),
    ]);
    expect(message.stop_reason).toBe("end_turn");
    expect(both.gateway.openCalls()).toBe(0);
    expect(await holdsOf(database, run)).toMatchObject([{ state: "SETTLED" }]);
    await expect(post(both.url, { token: run.token, body: SMALL })).rejects.toThrow();
  });

  test("breaks off what lasts longer, charged as held, and leaves no hold open", async () => {
    const both = await startBoth(database, {
      provider: { faults: [{ kind: "stall", ms: 60_000, before_event: 2 }] },
    });
    const run = await startRun(database);
    const call = post(both.url, { token: run.token, body: { ...SMALL, stream: true } }).then((r) =>
      r.text(),
    );
    while ((await holdsOf(database, run)).length === 0) await new Promise(setImmediate);
    await both.gateway.close({ drainMs: 10 });
    expect(await call).toContain("gateway_stopping");
    expect(await holdsOf(database, run)).toMatchObject([{ state: "PROVISIONAL" }]);
  });
});

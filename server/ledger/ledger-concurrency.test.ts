import pg from "pg";
import { afterAll, expect, it } from "vitest";
import { verify } from "../operator/verify.ts";
import { createDb } from "../platform/db.ts";
import { createLogger } from "../platform/log.ts";
import { createTestDatabase } from "../test/database.ts";
import { testPasswordOf } from "../test/postgres.ts";
import {
  claimRun,
  type ClaimedRun,
  createClaimedRun,
  createTenant,
  limitTop,
} from "../test/tenant.ts";
import { request } from "./fixture.ts";
import type { ReserveOutcome } from "./calls.ts";
import { createLedger } from "./ledger.ts";
import { setLimit } from "./limits.ts";

// Two processes at once: each with its own connections and its own holds.

const { db, admin, ownerUrl, dropConnections } = await createTestDatabase();
const { hostname: host, port, pathname } = new URL(ownerUrl);
const otherDb = createDb({
  address: { host, port: Number(port), database: pathname.slice(1) },
  passwordOf: testPasswordOf,
  log: createLogger({ level: "silent" }),
});
// Runs before the database is dropped: hooks run last in, first out.
afterAll(() => otherDb.close());

/** Moves on by itself, so that what waits for a deadline need not be waited for. */
let monotonicMs = 0;
const clock = { now: () => new Date(), monotonicMs: () => monotonicMs };
const one = createLedger({ db, processId: "gw_one", clock });
const two = createLedger({ db: otherDb, processId: "gw_two", clock });
const ledgers = [one, two];
for (const ledger of ledgers) await ledger.processSeen("gateway");

async function expectLaws(): Promise<void> {
  const results = await verify(db, { quiet: true });
  expect(results.flatMap((result) => result.violations)).toEqual([]);
}

/** Deadlocks that the server has broken up in this database so far. Backends tell of theirs at the latest when they end. */
async function deadlocks(): Promise<number> {
  await dropConnections();
  await expect
    .poll(async () => {
      const found = await admin.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE 'guildhall%'",
      );
      return found.rowCount;
    })
    .toBe(0);
  const found = await admin.query<{ deadlocks: string }>(
    "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
  );
  return Number(found.rows[0]!.deadlocks);
}

async function runsOf(
  tenant: Awaited<ReturnType<typeof createTenant>>,
  count: number,
  costLimitNanoUsd = 10_000_000_000,
): Promise<ClaimedRun[]> {
  const runs: ClaimedRun[] = [];
  for (let n = 0; n < count; n++) {
    // Every third run is of a task below the first one, so that they meet at its row, too.
    const parentTaskId = n % 3 === 2 ? runs[0]?.taskId : undefined;
    const parent = parentTaskId === undefined ? {} : { parentTaskId };
    runs.push(await createClaimedRun(admin, tenant, { costLimitNanoUsd, ...parent }));
  }
  return runs;
}

it("200 calls at once in two processes get exactly the last dollar, and no more", async () => {
  const dollar = 1_000_000_000;
  const tenant = await createTenant(admin, { costLimitNanoUsd: dollar });
  const runs = await runsOf(tenant, 8);
  // Some $0.0077 each, 155 % of the dollar together; the least is $0.0001.
  const asked = Array.from({ length: 200 }, (_, n) =>
    request(runs[n % runs.length]!, {
      inputNanoUsd: 90_000 + n,
      outputNanoUsdPerToken: 15_000,
      maxTokens: 512,
      minTokens: 1,
    }),
  );
  const outcomes = await Promise.all(asked.map((ask, n) => ledgers[n % 2]!.reserve(ask)));
  const amounts = outcomes.map((outcome) =>
    outcome.status === "held" ? outcome.amountNanoUsd : 0,
  );
  const admitted = amounts.reduce((sum, amount) => sum + amount, 0);
  expect(admitted).toBeLessThanOrEqual(dollar);
  expect(dollar - admitted).toBeLessThan(105_200);
  expect(new Set(outcomes.map((outcome) => outcome.status))).toEqual(new Set(["held", "reserved"]));

  const { workspaceId } = tenant;
  await Promise.all(
    asked.flatMap((ask, n) => {
      if (outcomes[n]!.status !== "held") return [];
      const actualNanoUsd = Math.floor((amounts[n]! * (n % 10)) / 10);
      const settlement = {
        workspaceId,
        holdId: ask.holdId,
        outcome: "settled",
        actualNanoUsd,
      } as const;
      // From both processes, as a gateway and the reaper would: only one of them counts.
      return [one.settle(settlement), two.settle(settlement)];
    }),
  );
  await expectLaws();
});

it("first calls of a new workspace at once open each balance once and number their calls in order", async () => {
  for (let round = 0; round < 3; round++) {
    const tenant = await createTenant(admin);
    const [run] = await runsOf(tenant, 1);
    const asked = Array.from({ length: 16 }, () => request(run!));
    const outcomes = await Promise.all(asked.map((ask, n) => ledgers[n % 2]!.reserve(ask)));
    const numbers = outcomes.map((outcome) =>
      outcome.status === "held" ? Number(outcome.callNo) : 0,
    );
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, n) => n + 1));
    await Promise.all(
      asked.map(({ holdId }) =>
        one.settle({ workspaceId: tenant.workspaceId, holdId, outcome: "provisional" }),
      ),
    );
  }
  await expectLaws();
});

it("a limit that changes while its balance is opened is in force there", async () => {
  for (let round = 0; round < 30; round++) {
    const tenant = await createTenant(admin, { costLimitNanoUsd: 1_000 });
    const { workspaceId } = tenant;
    const run = await createClaimedRun(admin, tenant);
    const change = { meter: "model_cost", level: "workspace", scopeId: workspaceId } as const;
    const asked = [request(run), request(run)];
    await Promise.all([
      one.reserve(asked[0]!),
      db.withWorkspace(workspaceId, (tx) =>
        setLimit(tx, { ...change, amount: 2_000, actor: "test" }),
      ),
      two.reserve(asked[1]!),
    ]);
    const found = await admin.query(
      `SELECT limit_amount::int, limit_version FROM budgets WHERE workspace_id = $1 AND level = 'workspace'`,
      [workspaceId],
    );
    expect(found.rows).toEqual([{ limit_amount: 2_000, limit_version: 2 }]);
    for (const { holdId } of asked)
      await one.settle({ workspaceId, holdId, outcome: "settled", actualNanoUsd: 1 });
  }
});

it("workspaces of one payer that spend at once never exceed what they share, whatever is changed meanwhile", async () => {
  const first = await createTenant(admin);
  const owner = first.billingAccountId;
  const tenants = [first];
  for (let n = 1; n < 4; n++) tenants.push(await createTenant(admin, { billingAccountId: owner }));
  const top = { level: "owner", scopeId: owner, meter: "model_cost" } as const;
  await limitTop(admin, { ...top, amount: 20_000 });
  const before = await deadlocks();
  const runs: ClaimedRun[] = [];
  for (const tenant of tenants) runs.push(...(await runsOf(tenant, 3)));
  const outcomes: ReserveOutcome[] = [];
  const work = runs.map(async (run, n) => {
    const ledger = ledgers[n % 2]!;
    for (let call = 0; call < 15; call++) {
      const ask = request(run, { maxTokens: 40 });
      const outcome = await ledger.reserve(ask);
      outcomes.push(outcome);
      if (outcome.status !== "held") continue;
      const actualNanoUsd = Math.floor(outcome.amountNanoUsd / (1 + (call % 4)));
      const { workspaceId } = run;
      await ledger.settle({ workspaceId, holdId: ask.holdId, outcome: "settled", actualNanoUsd });
      if (n === 0) await limitTop(admin, { ...top, amount: call % 2 === 0 ? 15_000 : 20_000 });
    }
  });
  await Promise.all(work);
  const used = await admin.query<{ posted: number }>(
    `SELECT sum(posted)::int AS posted FROM budgets WHERE level = 'owner' AND scope_id = $1 AND meter = 'model_cost'`,
    [owner],
  );
  expect(used.rows[0]!.posted).toBeLessThanOrEqual(20_000);
  expect(outcomes.some((outcome) => outcome.status === "held")).toBe(true);
  expect(outcomes.some((outcome) => outcome.status === "exhausted")).toBe(true);
  await limitTop(admin, { ...top, amount: 20_000 });
  // Nobody's unused chunk keeps the rest from whoever comes last.
  const last = request(runs[0]!, { maxTokens: 2_000 });
  const end = await one.reserve(last);
  const left = 20_000 - used.rows[0]!.posted;
  const amount = end.status === "held" ? end.amountNanoUsd : 0;
  expect(left - amount).toBeLessThan(110);
  await one.settle({ workspaceId: first.workspaceId, holdId: last.holdId, outcome: "provisional" });
  expect(await deadlocks()).toBe(before);
  await expectLaws();
});

it("equal calls at once in two processes never get the same answer of the journal", async () => {
  const tenant = await createTenant(admin);
  const first = await createClaimedRun(admin, tenant);
  const { workspaceId } = tenant;
  const texts = Array.from({ length: 16 }, (_, n) => `answer ${n}`);
  for (const text of texts) {
    const ask = request(first);
    await one.reserve(ask);
    await one.settle({
      workspaceId,
      holdId: ask.holdId,
      outcome: "settled",
      actualNanoUsd: 1,
      journal: { requestHash: "same", body: Buffer.from(text) },
    });
  }
  let run = first;
  for (let round = 0; round < 5; round++) {
    run = await claimRun(admin, run);
    const call = { ...run, requestHash: "same" };
    const taken = await Promise.all(texts.map((_, n) => ledgers[n % 2]!.takeJournal(call)));
    const bodies = taken.map((answer) => answer?.body.toString());
    expect(new Set(bodies)).toEqual(new Set(texts));
    expect(await one.takeJournal(call)).toBeUndefined();
  }
});

it("a run cannot be claimed anew between the check of its lease and the hold", async () => {
  const tenant = await createTenant(admin);
  const run = await createClaimedRun(admin, tenant);
  const { workspaceId } = tenant;
  const warm = request(run);
  await one.reserve(warm);
  await one.settle({ workspaceId, holdId: warm.holdId, outcome: "settled", actualNanoUsd: 1 });
  async function untilWaiting(count: number): Promise<void> {
    await expect
      .poll(async () => {
        const found = await admin.query(
          "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        return found.rowCount;
      })
      .toBe(count);
  }
  const blocker = new pg.Client({ connectionString: ownerUrl });
  const claimer = new pg.Client({ connectionString: ownerUrl });
  await Promise.all([blocker.connect(), claimer.connect()]);
  try {
    await blocker.query("BEGIN");
    await blocker.query(
      "SELECT FROM budgets WHERE workspace_id = $1 AND level = 'workspace' FOR UPDATE",
      [workspaceId],
    );
    const ask = request(run);
    const reserving = one.reserve(ask);
    await untilWaiting(1);
    const claiming = claimRun(claimer, run);
    await untilWaiting(2);
    await blocker.query("COMMIT");
    expect(await reserving).toMatchObject({ status: "held" });
    expect(await claiming).toMatchObject({ epoch: 2 });
    expect(await one.reserve(request(run))).toEqual({ status: "stale" });
    await one.settle({ workspaceId, holdId: ask.holdId, outcome: "provisional" });
  } finally {
    await Promise.all([blocker.end(), claimer.end()]);
  }
  await expectLaws();
});

it("connections that break at any moment lose no booking, double none, and leave nothing held", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 50_000_000 });
  const { workspaceId } = tenant;
  const runs = await runsOf(tenant, 8);
  const calls = 24;
  let broken = 0;
  let lost = 0;
  let settled = 0;
  const booked = new Map<string, number>();

  /** Tries until the database answers; what it did before the connection broke is its own business. */
  async function persist<Result>(work: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        broken++;
        if (broken > 10_000) throw error;
      }
    }
  }

  async function call(run: ClaimedRun, n: number): Promise<void> {
    const ledger = ledgers[n % 2]!;
    const ask = request(run, { maxTokens: 100, dispatch: n % 3 !== 0 });
    const outcome = await ledger.reserve(ask).catch(() => undefined);
    if (outcome === undefined) lost++;
    if (outcome?.status !== "held") return;
    const { holdId } = ask;
    if (!ask.dispatch) await persist(() => ledger.markDispatched(workspaceId, holdId));
    const actualNanoUsd = outcome.amountNanoUsd - n;
    const settlement = { workspaceId, holdId, outcome: "settled", actualNanoUsd } as const;
    await persist(() => ledger.settle(settlement));
    settled++;
    const bookingNo = (booked.get(run.runId) ?? 0) + 1;
    await persist(() => ledger.leaseAgentTime({ ...run, bookingNo, sliceMs: 2_000 }));
    booked.set(run.runId, bookingNo);
  }

  const work = runs.map(async (run, worker) => {
    for (let n = 0; n < calls; n++) {
      // The others are somewhere in the middle of their calls then.
      if (n % runs.length === worker) await dropConnections();
      await call(run, n + worker);
    }
  });
  await Promise.all(work);
  expect(settled).toBeGreaterThan(calls);
  expect(broken + lost).toBeGreaterThan(0);

  // Holds of reservations whose answer was lost are ended by the process that asked for them.
  monotonicMs += 60_000;
  for (const ledger of ledgers)
    while ((await ledger.endUnresolved()).length > 0) await new Promise(setImmediate);
  await expectLaws();
  const holds = await admin.query<{ count: string }>(
    `SELECT count(*) FROM holds WHERE workspace_id = $1 AND posted > 0`,
    [workspaceId],
  );
  expect(Number(holds.rows[0]!.count)).toBe(settled);
  const slices = await admin.query<{ run_id: string; count: number }>(
    "SELECT run_id, count(*)::int AS count FROM time_slices WHERE workspace_id = $1 GROUP BY run_id",
    [workspaceId],
  );
  expect(new Map(slices.rows.map((row) => [row.run_id, row.count]))).toEqual(booked);
});

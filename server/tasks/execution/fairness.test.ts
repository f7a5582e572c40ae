import fc from "fast-check";
import { beforeEach, expect, it } from "vitest";
import type { PlanName } from "../../ledger/plans.ts";
import { createTestDatabase } from "../../test/database.ts";
import { createQueuedRun, createTenant, type Tenant } from "../../test/tenant.ts";
import { verify } from "../../operator/verify.ts";
import { claimRuns, finishRun, openQueues, releaseRun, type Claim } from "./run-claims.ts";

const { db, admin } = await createTestDatabase();

beforeEach(async () => {
  await admin.query(
    "SELECT end_task(workspace_id, task_id, 'cancelled', NULL, NULL, '{}') FROM runs WHERE state <> 'ended'",
  );
  // Finds nothing, so that no queue is ready any more.
  await claimRuns(db, { workerId: "wrk_none", leaseMs: 1, atMost: 64 });
});

async function openAllQueues(): Promise<void> {
  while ((await openQueues(db)).mayBeMore);
}

/** A workspace with so many runs waiting, of which as many as its slots allow can be claimed. */
async function withRuns(
  count: number,
  options: { plan?: PlanName; concurrentTasks?: number } = {},
): Promise<Tenant> {
  const tenant = await createTenant(admin, options);
  for (let n = 0; n < count; n++) await createQueuedRun(admin, tenant);
  await openAllQueues();
  return tenant;
}

async function claimOne(): Promise<Claim | undefined> {
  const [claim] = await claimRuns(db, { workerId: "wrk_fair", leaseMs: 600_000, atMost: 1 });
  return claim;
}

const end = (claim: Claim) => finishRun(db, claim, { state: "succeeded", result: "" });

/** How many of the next claims each workspace gets, when claimed runs end after so many further claims of their workspace. */
async function shares(
  claims: number,
  tenants: readonly { tenant: Tenant; lasts: number }[],
): Promise<number[]> {
  const going = new Map(tenants.map(({ tenant }) => [tenant.workspaceId, [] as Claim[]]));
  const given = new Map(tenants.map(({ tenant }) => [tenant.workspaceId, 0]));
  for (let n = 0; n < claims; n++) {
    const claim = (await claimOne())!;
    const { workspaceId } = claim;
    given.set(workspaceId, given.get(workspaceId)! + 1);
    const running = going.get(workspaceId)!;
    running.push(claim);
    const { lasts } = tenants.find(({ tenant }) => tenant.workspaceId === workspaceId)!;
    while (running.length > lasts) await end(running.shift()!);
  }
  return [...given.values()];
}

it("a plan of four times the weight starts four times as often while both have work", async () => {
  const free = { tenant: await withRuns(30, { plan: "free" }), lasts: 0 };
  const pro = { tenant: await withRuns(60, { plan: "pro" }), lasts: 0 };
  const [ofFree, ofPro] = await shares(50, [free, pro]);
  expect([ofFree, ofPro]).toEqual([10, 40]);
});

it("who has much running starts less often for it", async () => {
  const short = { tenant: await withRuns(40), lasts: 0 };
  const long = { tenant: await withRuns(40), lasts: 3 };
  const [ofShort, ofLong] = await shares(30, [short, long]);
  // Once three of its runs go on at any time, a fourth counts four times.
  expect(ofShort! / ofLong!).toBeGreaterThan(2);
  expect(ofLong).toBeGreaterThan(4);
});

it("coming back again and again gains nothing over having much waiting", async () => {
  const steady = await withRuns(40, { plan: "pro" });
  const back = await withRuns(1, { plan: "free" });
  const given = new Map<string, number>();
  for (let n = 0; n < 40; n++) {
    const claim = (await claimOne())!;
    given.set(claim.workspaceId, (given.get(claim.workspaceId) ?? 0) + 1);
    await end(claim);
    if (claim.workspaceId === back.workspaceId) {
      await createQueuedRun(admin, back);
      await openAllQueues();
    }
  }
  expect([given.get(steady.workspaceId), given.get(back.workspaceId)]).toEqual([32, 8]);
});

it("who rests saves nothing up", async () => {
  const rested = await withRuns(1);
  const steady = await withRuns(30);
  for (let n = 0; n < 21; n++) await end((await claimOne())!);
  for (let n = 0; n < 5; n++) await createQueuedRun(admin, rested);
  await openAllQueues();
  const tenants = [rested, steady].map((tenant) => ({ tenant, lasts: 0 }));
  expect(await shares(8, tenants)).toEqual([4, 4]);
});

it("with k others ready a newcomer waits for k claims at most, whatever their plans, whatever they have running and waiting", async () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant("claim" as const), ends: fc.boolean() }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("more" as const), which: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("release" as const) }) },
  );
  const plan = fc.constantFrom<PlanName>("free", "starter", "pro", "enterprise");
  await fc.assert(
    fc.asyncProperty(
      fc.array(plan, { minLength: 1, maxLength: 6 }),
      fc.array(step, { minLength: 5, maxLength: 25 }),
      plan,
      async (plans, steps, ofNewcomer) => {
        await admin.query(
          "SELECT end_task(workspace_id, task_id, 'cancelled', NULL, NULL, '{}') FROM runs WHERE state <> 'ended'",
        );
        const tenants: Tenant[] = [];
        for (const plan of plans) tenants.push(await withRuns(4, { plan, concurrentTasks: 6 }));
        const held: Claim[] = [];
        for (const one of steps) {
          if (one.do === "more") await createQueuedRun(admin, tenants[one.which % tenants.length]!);
          else if (one.do === "release") {
            const claim = held.shift();
            if (claim) await releaseRun(db, claim, "shutdown");
          } else {
            const claim = await claimOne();
            if (claim && one.ends) await end(claim);
            else if (claim) held.push(claim);
          }
        }
        for (const tenant of tenants) await createQueuedRun(admin, tenant);
        await openAllQueues();
        const { rows } = await admin.query<{ k: number }>(
          "SELECT count(*)::int AS k FROM run_queues WHERE ready",
        );
        const newcomer = await withRuns(2, { plan: ofNewcomer });
        let waited = 0;
        while ((await claimOne())!.workspaceId !== newcomer.workspaceId) waited++;
        expect(waited).toBeLessThanOrEqual(rows[0]!.k);
      },
    ),
    { numRuns: 25 },
  );
});

it("within a workspace a level of priority is worth ten minutes of waiting, so nothing waits for ever", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 1 });
  const early = await createQueuedRun(admin, tenant);
  await admin.query("UPDATE runs SET queued_at = queued_at - interval '31 minutes' WHERE id = $1", [
    early.runId,
  ]);
  const urgent = await createQueuedRun(admin, tenant, { priority: 3 });
  const moreUrgent = await createQueuedRun(admin, tenant, { priority: 4 });
  const low = await createQueuedRun(admin, tenant, { priority: -1 });
  const late = await createQueuedRun(admin, tenant);
  const order: string[] = [];
  for (let n = 0; n < 5; n++) {
    const claim = (await claimOne())!;
    order.push(claim.runId);
    await end(claim);
  }
  expect(order).toEqual([moreUrgent, early, urgent, late, low].map((run) => run.runId));
});

it("what is urgent goes before what could start already and only waits for a worker", async () => {
  const tenant = await withRuns(3);
  const urgent = await createQueuedRun(admin, tenant, { priority: 1 });
  expect(await claimOne()).toMatchObject({ runId: urgent.runId });
});

/** Tasks with their runs as creating them leaves them, without the checks that take most of the time. */
async function flood(tenant: Tenant, count: number): Promise<void> {
  await admin.query("SET session_replication_role = replica");
  await admin.query(
    `WITH n AS (SELECT 'flood' || lpad(g::text, 7, '0') AS n FROM generate_series(1, $3::int) g), task AS (
        INSERT INTO tasks (workspace_id, id, agent_id, title, prompt, root_task_id, depth, cost_limit_nano_usd, wall_time_limit_ms, agent_time_limit_ms, model_call_limit, tool_call_limit, created_by)
          SELECT $1, 'task_' || n, $2, 'Flood', 'x', 'task_' || n, 0, 500000000, 86400000, 3600000, 200, 1000, 'user:test' FROM n),
      stream AS (INSERT INTO streams (workspace_id, id) SELECT $1, 'task_' || n FROM n),
      change AS (INSERT INTO slot_changes (workspace_id) SELECT $1 FROM n)
      INSERT INTO runs (workspace_id, id, task_id, turn_at) SELECT $1, 'run_' || n, 'task_' || n, clock_now() FROM n`,
    [tenant.workspaceId, tenant.agentId, count],
  );
  await admin.query("SET session_replication_role = origin");
}

async function drainFlood(tenant: Tenant): Promise<void> {
  await admin.query("SET session_replication_role = replica");
  for (const table of ["runs", "tasks", "streams", "events", "slot_changes"])
    await admin.query(`DELETE FROM ${table} WHERE workspace_id = $1`, [tenant.workspaceId]);
  await admin.query("SET session_replication_role = origin");
}

it("with 100,000 tasks of one workspace waiting, another one's starts with the next claim but one, and no claim reads the flood", async () => {
  const flooding = await createTenant(admin, { concurrentTasks: 10 });
  await flood(flooding, 100_000);
  await admin.query("ANALYZE runs");
  await openAllQueues();
  const other = await withRuns(1);
  await admin.query("BEGIN");
  const { rows: claimed } = await admin.query<{ workspace_id: string }>(
    `SELECT workspace_id FROM claim('wrk_flood', interval '1 minute', ARRAY['a', 'b'], '{}', 64, NULL)`,
  );
  const { rows: read } = await admin.query<{ rows: number }>(
    `SELECT (seq_tup_read + idx_tup_fetch)::int AS rows FROM pg_stat_xact_user_tables WHERE relname = 'runs'`,
  );
  await admin.query("ROLLBACK");
  expect(claimed.map((row) => row.workspace_id).toSorted()).toEqual(
    [flooding.workspaceId, other.workspaceId].toSorted(),
  );
  expect(read[0]!.rows).toBeLessThan(200);
  await drainFlood(flooding);
});

it("whatever happens at once, no run is forgotten: what has a slot is claimed, and a free slot is given out", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("create" as const), tenant: fc.nat(2) }),
    fc.record({ do: fc.constant("admit" as const) }),
    fc.record({ do: fc.constant("claim" as const), atMost: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ do: fc.constantFrom("end" as const, "release" as const, "park" as const) }),
    fc.record({ do: fc.constant("limit" as const), tenant: fc.nat(2), amount: fc.nat(4) }),
  );
  type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;
  const rounds = fc.array(fc.array(step, { minLength: 1, maxLength: 6, size: "max" }), {
    minLength: 3,
    maxLength: 15,
    size: "max",
  });
  await fc.assert(
    fc.asyncProperty(rounds, async (rounds) => {
      const tenants = [
        await createTenant(admin, { concurrentTasks: 2 }),
        await createTenant(admin, { concurrentTasks: 1 }),
        await createTenant(admin, { concurrentTasks: 4 }),
      ];
      const held: Claim[] = [];
      let creating: Promise<unknown> = Promise.resolve();
      const perform = async (one: Step): Promise<void> => {
        switch (one.do) {
          case "create":
            // One connection, so one after the other.
            creating = creating.then(() => createQueuedRun(admin, tenants[one.tenant]!));
            await creating;
            return;
          case "admit":
            await openQueues(db);
            return;
          case "claim":
            held.push(
              ...(await claimRuns(db, { workerId: "wrk", leaseMs: 600_000, atMost: one.atMost })),
            );
            return;
          case "limit":
            await db.withWorkspace(tenants[one.tenant]!.workspaceId, (tx) =>
              tx.query({
                text: "SELECT set_limit('concurrent_tasks', 'workspace', current_workspace(), $1, 'test')",
                values: [one.amount],
              }),
            );
            return;
          default: {
            const claim = held.shift();
            if (!claim) return;
            if (one.do === "end") await end(claim);
            else if (one.do === "release") await releaseRun(db, claim, "shutdown");
            else
              await db.withWorkspace(claim.workspaceId, (tx) =>
                tx.query({
                  text: "SELECT park_run($1, $2, 'waiting', '{\"kind\":\"timer\"}', clock_now(), 'task.waiting')",
                  values: [claim.runId, claim.epoch],
                }),
              );
          }
        }
      };
      for (const round of rounds) await Promise.all(round.map(perform));
      const results = await verify(db);
      expect(results.flatMap((result) => result.violations)).toEqual([]);
      await openAllQueues();
      while ((await claimOne()) !== undefined);
      const { rows: forgotten } = await admin.query(
        "SELECT state FROM runs WHERE state = 'admitted' AND workspace_id = ANY($1)",
        [tenants.map((tenant) => tenant.workspaceId)],
      );
      expect(forgotten).toEqual([]);
    }),
    { numRuns: 15 },
  );
});

import fc from "fast-check";
import { beforeEach, expect, it } from "vitest";
import { setLimit } from "../../ledger/limits.ts";
import { installClock, passTime } from "../../test/clock.ts";
import { createTestDatabase } from "../../test/database.ts";
import { createQueuedRun, createTenant, type Tenant } from "../../test/tenant.ts";
import { reapRuns } from "./jobs.ts";
import { claimRuns, type Claim } from "./run-claims.ts";

const { db, admin } = await createTestDatabase();
await installClock(admin);

const LEASE_MS = 8_000;
const GRACE_MS = 1_000;

beforeEach(async () => {
  await admin.query(
    "SELECT end_task(workspace_id, task_id, 'cancelled', NULL, NULL, '{}') FROM runs WHERE state <> 'ended'",
  );
});

const passMs = (ms: number): Promise<void> => passTime(admin, ms);

const claim = (atMost = 10): Promise<Claim[]> =>
  claimRuns(db, { workerId: "wrk_slots", leaseMs: LEASE_MS, atMost });

const allow = (tenant: Tenant, amount: number | null) =>
  db.withWorkspace(tenant.workspaceId, (tx) =>
    setLimit(tx, {
      meter: "concurrent_tasks",
      level: "workspace",
      scopeId: tenant.workspaceId,
      amount,
      actor: "test",
    }),
  );

type Slot = { taskId: string; slot: number };

async function slotsOf(tenant: Tenant): Promise<Slot[]> {
  const { rows } = await admin.query<Slot>(
    `SELECT task_id AS "taskId", slot_no AS slot FROM runs WHERE workspace_id = $1 AND slot_no IS NOT NULL ORDER BY slot_no`,
    [tenant.workspaceId],
  );
  return rows;
}

const end = (tenant: Tenant, taskId: string) =>
  admin.query("SELECT end_task($1, $2, 'succeeded', NULL, '', '{}')", [tenant.workspaceId, taskId]);

const park = (one: Claim, reason: object) =>
  db.withWorkspace(one.workspaceId, (tx) =>
    tx.query({
      text: "SELECT park_run($1, $2, 'waiting', $3, NULL, 'task.waiting')",
      values: [one.runId, one.epoch, JSON.stringify(reason)],
    }),
  );

it("after a downgrade slots above the new number are not given out again, and those who have one keep it", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 5 });
  for (let n = 0; n < 12; n++) await createQueuedRun(admin, tenant);
  await claim();
  const before = await slotsOf(tenant);
  expect(before.map((one) => one.slot)).toEqual([1, 2, 3, 4, 5]);
  await allow(tenant, 2);
  await claim();
  expect(await slotsOf(tenant)).toEqual(before);
  // The lowest end first, so that only high ones are taken.
  for (const { taskId } of before.slice(0, 3)) {
    await end(tenant, taskId);
    await claim();
  }
  expect((await slotsOf(tenant)).map((one) => one.slot)).toEqual([4, 5]);
  await end(tenant, before[3]!.taskId);
  await claim();
  // One is free, and it is the lowest, not the one that was given back.
  expect((await slotsOf(tenant)).map((one) => one.slot)).toEqual([1, 5]);
  await end(tenant, before[4]!.taskId);
  await claim();
  expect((await slotsOf(tenant)).map((one) => one.slot)).toEqual([1, 2]);
});

it("whatever ends and whatever the limit does, a slot is given out only within the limit of that moment", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("limit" as const), amount: fc.nat(6) }),
    fc.record({ do: fc.constant("end" as const), which: fc.nat(20) }),
    fc.record({ do: fc.constant("queue" as const) }),
    fc.record({ do: fc.constant("claim" as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const tenant = await createTenant(admin, { concurrentTasks: 3 });
      let limit = 3;
      for (const one of steps) {
        if (one.do === "limit") await allow(tenant, (limit = one.amount));
        else if (one.do === "queue") await createQueuedRun(admin, tenant);
        else if (one.do === "claim") await claim();
        else {
          const taken = await slotsOf(tenant);
          const ended = taken[one.which % Math.max(1, taken.length)];
          if (ended) await end(tenant, ended.taskId);
        }
        const before = await slotsOf(tenant);
        await Promise.all([claim(2), claim()]);
        const after = await slotsOf(tenant);
        const kept = new Set(before.map((slot) => slot.taskId));
        for (const slot of after)
          if (!kept.has(slot.taskId)) expect(slot.slot).toBeLessThanOrEqual(limit);
        expect(after.length).toBeLessThanOrEqual(Math.max(limit, before.length));
      }
    }),
    { numRuns: 12 },
  );
});

it("the slot of a lost lease is given to nobody before the lease's end and the grace, and then first to the same run", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 1 });
  const lost = await createQueuedRun(admin, tenant);
  await passMs(1);
  await createQueuedRun(admin, tenant);
  expect(await claim()).toHaveLength(1);
  const waits = async (): Promise<void> => {
    expect(await reapRuns(db, GRACE_MS)).toBe(0);
    expect(await claim()).toEqual([]);
    expect(await slotsOf(tenant)).toEqual([{ taskId: lost.taskId, slot: 1 }]);
  };
  await waits();
  await passMs(LEASE_MS);
  await waits();
  await passMs(GRACE_MS);
  await waits();
  await passMs(1);
  expect(await reapRuns(db, GRACE_MS)).toBe(1);
  const again = await claim();
  expect(again).toMatchObject([{ runId: lost.runId, epoch: 2 }]);
});

it("the slot of a task that fails with its third lost lease is free only after that lease's end and the grace", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 1 });
  await createQueuedRun(admin, tenant);
  await passMs(1);
  const next = await createQueuedRun(admin, tenant);
  for (let attempt = 1; attempt <= 3; attempt++) {
    expect(await claim()).toHaveLength(1);
    await passMs(LEASE_MS + GRACE_MS);
    expect(await reapRuns(db, GRACE_MS, 0)).toBe(0);
    expect(await claim()).toEqual([]);
    await passMs(1);
    expect(await reapRuns(db, GRACE_MS, 0)).toBe(1);
  }
  expect(await claim()).toMatchObject([{ runId: next.runId }]);
});

it("a waiting run gives its slot back, and one that waits for its child hands it over: with one slot both go on", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 1 });
  const parent = await createQueuedRun(admin, tenant);
  await passMs(1);
  const other = await createQueuedRun(admin, tenant);
  const [first] = await claim();
  const child = await createQueuedRun(admin, tenant, { parentTaskId: parent.taskId });
  await park(first!, { kind: "child", child_task_id: child.taskId });
  expect(await slotsOf(tenant)).toEqual([{ taskId: child.taskId, slot: 1 }]);
  expect(await claim()).toMatchObject([{ runId: child.runId }]);
  await end(tenant, child.taskId);
  expect(await slotsOf(tenant)).toEqual([{ taskId: parent.taskId, slot: 1 }]);
  const [again] = await claim();
  expect(again).toMatchObject({ runId: parent.runId });
  await park(again!, { kind: "timer" });
  expect(await slotsOf(tenant)).toEqual([]);
  expect(await claim()).toMatchObject([{ runId: other.runId }]);
});

it("a slot beyond a lowered limit is handed to nobody: neither to a child nor back to its parent", async () => {
  for (const lowered of ["before the parent waits", "while the child works"]) {
    const tenant = await createTenant(admin, { concurrentTasks: 2 });
    await createQueuedRun(admin, tenant);
    await passMs(1);
    const parent = await createQueuedRun(admin, tenant);
    const claims = await claim();
    const child = await createQueuedRun(admin, tenant, { parentTaskId: parent.taskId });
    const waiting = { kind: "child", child_task_id: child.taskId };
    if (lowered === "before the parent waits") await allow(tenant, 1);
    await park(
      claims.find(({ runId }) => runId === parent.runId)!,
      waiting,
    );
    if (lowered === "while the child works") {
      expect(await claim()).toMatchObject([{ runId: child.runId }]);
      await allow(tenant, 1);
      await end(tenant, child.taskId);
    }
    expect(await claim()).toEqual([]);
    expect((await slotsOf(tenant)).map((one) => one.slot)).toEqual([1]);
  }
});

import { beforeEach, expect, it } from "vitest";
import { createLedger } from "../../ledger/ledger.ts";
import { installClock, passTime } from "../../test/clock.ts";
import { createTestDatabase } from "../../test/database.ts";
import { brokenLaws } from "../../test/run-stage.ts";
import { createQueuedRun, createTenant } from "../../test/tenant.ts";
import { reapRuns, returnCancelledTime, wakeDueRuns } from "./jobs.ts";
import { claimRuns, extendLeases, type Claim } from "./run-claims.ts";

const database = await createTestDatabase();
const { db, admin } = database;
await installClock(admin);
const ledger = createLedger({ db, processId: "wrk_test" });

const WORKER = "wrk_lost";
const LEASE_MS = 8_000;
const SLICE_MS = 15_000;
const GRACE_MS = 1_000;
/** After the end of its lease: the worker of a cancelled attempt has so long to give back what it did not use. */
const RETURN_MS = 60_000;

beforeEach(async () => {
  await admin.query(
    "SELECT end_task(workspace_id, task_id, 'cancelled', NULL, NULL, '{}') FROM runs WHERE state <> 'ended'",
  );
  await admin.query("DELETE FROM cancelled_attempts");
});

const passMs = (ms: number): Promise<void> => passTime(admin, ms);

/** The only run there is, with its first slice. */
async function claimOne(): Promise<Claim> {
  const asked = { workerId: WORKER, leaseMs: LEASE_MS, atMost: 1, agentTimeSliceMs: SLICE_MS };
  const [claim] = await claimRuns(db, asked);
  expect(claim?.agentTime).toEqual({ status: "granted", ms: SLICE_MS });
  return claim!;
}

async function loseIt(): Promise<void> {
  await passMs(LEASE_MS + GRACE_MS + 1);
  expect(await reapRuns(db, GRACE_MS)).toBe(1);
}

const cancel = ({ workspaceId, taskId }: Claim): Promise<unknown> =>
  admin.query("SELECT end_task($1, $2, 'cancelled', 'requested', NULL, '{}')", [
    workspaceId,
    taskId,
  ]);

/** Agent time that the task pays for, by each of its attempts and in all; milliseconds. */
async function paidFor({ workspaceId, runId, taskId }: Claim): Promise<[number[], number]> {
  const { rows } = await admin.query<{ ms: number }>(
    "SELECT sum(granted_ms - returned_ms)::int AS ms FROM time_slices WHERE run_id = $1 GROUP BY epoch ORDER BY epoch",
    [runId],
  );
  const task = await admin.query<{ posted: number }>(
    "SELECT posted::int FROM budgets WHERE workspace_id = $1 AND meter = 'agent_time' AND level = 'task' AND scope_id = $2",
    [workspaceId, taskId],
  );
  return [rows.map(({ ms }) => ms), task.rows[0]!.posted];
}

it("of a lost attempt's agent time comes back what it had booked beyond the end of its lease", async () => {
  const tenant = await createTenant(admin);
  await createQueuedRun(admin, tenant);
  const first = await claimOne();
  await loseIt();
  expect(await paidFor(first)).toEqual([[LEASE_MS], LEASE_MS]);
  const second = await claimOne();
  await passMs(7_000);
  await extendLeases(db, { workerId: WORKER, leaseMs: LEASE_MS, claims: [second] });
  const more = { ...second, bookingNo: 2, sliceMs: SLICE_MS };
  expect(await ledger.leaseAgentTime(more)).toEqual({ status: "granted", ms: SLICE_MS });
  await loseIt();
  expect(await paidFor(first)).toEqual([[LEASE_MS, 7_000 + LEASE_MS], 7_000 + 2 * LEASE_MS]);
  expect(await brokenLaws(database)).toEqual([]);
});

it("what an attempt gave back before it was lost is not given back again, nor after it what came back then", async () => {
  const tenant = await createTenant(admin);
  await createQueuedRun(admin, tenant);
  const first = await claimOne();
  expect(await ledger.returnAgentTime({ ...first, unusedMs: 14_000 })).toBe(true);
  await loseIt();
  expect(await paidFor(first)).toEqual([[1_000], 1_000]);
  // The second one parks its run for a pause, the third one ends its task.
  for (const paid of [
    [1_000, LEASE_MS],
    [1_000, LEASE_MS, LEASE_MS],
  ]) {
    await admin.query("UPDATE runs SET wake_at = clock_now() WHERE state = 'parked'");
    await wakeDueRuns(db);
    const lost = await claimOne();
    await loseIt();
    expect(await ledger.returnAgentTime({ ...lost, unusedMs: 7_500 })).toBe(false);
    expect((await paidFor(lost))[0]).toEqual(paid);
  }
  const { rows } = await admin.query("SELECT cause FROM tasks WHERE id = $1", [first.taskId]);
  expect(rows).toEqual([{ cause: "attempts_exhausted" }]);
  expect(await brokenLaws(database)).toEqual([]);
});

it("one that booked nothing yet, or cannot have left anything over, is taken back like any other", async () => {
  const tenant = await createTenant(admin);
  await createQueuedRun(admin, tenant);
  const [none] = await claimRuns(db, { workerId: WORKER, leaseMs: LEASE_MS, atMost: 1 });
  await loseIt();
  const asked = { workerId: WORKER, leaseMs: LEASE_MS, atMost: 1, agentTimeSliceMs: 2_000 };
  expect(await claimRuns(db, asked)).toMatchObject([{ runId: none!.runId, epoch: 2 }]);
  await loseIt();
  expect(await paidFor(none!)).toEqual([[2_000], 2_000]);
});

it("of an attempt that is cancelled after its worker died comes back what it had booked beyond its end, once", async () => {
  await createQueuedRun(admin, await createTenant(admin));
  const claim = await claimOne();
  await passMs(3_000);
  await cancel(claim);
  await passMs(LEASE_MS - 3_000 + RETURN_MS - 1);
  expect(await returnCancelledTime(db)).toBe(0);
  await passMs(2);
  expect(await returnCancelledTime(db)).toBe(1);
  expect(await paidFor(claim)).toEqual([[3_000], 3_000]);
  expect(await ledger.returnAgentTime({ ...claim, unusedMs: 2_000 })).toBe(false);
  expect(await returnCancelledTime(db)).toBe(0);
  expect(await paidFor(claim)).toEqual([[3_000], 3_000]);
  expect(await brokenLaws(database)).toEqual([]);
});

it("what the worker of a cancelled attempt gives back is what comes back", async () => {
  await createQueuedRun(admin, await createTenant(admin));
  const claim = await claimOne();
  await passMs(3_000);
  await cancel(claim);
  expect(await ledger.returnAgentTime({ ...claim, unusedMs: 11_000 })).toBe(true);
  await passMs(LEASE_MS + RETURN_MS);
  expect(await returnCancelledTime(db)).toBe(0);
  expect(await ledger.returnAgentTime({ ...claim, unusedMs: 1_000 })).toBe(false);
  expect(await paidFor(claim)).toEqual([[4_000], 4_000]);
  expect(await brokenLaws(database)).toEqual([]);
});

it("an attempt that was cancelled before it had booked anything leaves nothing to give back", async () => {
  await createQueuedRun(admin, await createTenant(admin));
  const [claim] = await claimRuns(db, { workerId: WORKER, leaseMs: LEASE_MS, atMost: 1 });
  await cancel(claim!);
  await passMs(LEASE_MS + RETURN_MS + 1);
  expect(await returnCancelledTime(db)).toBe(1);
  const { rows } = await admin.query("SELECT FROM ledger_lines WHERE run_id = $1", [claim!.runId]);
  expect(rows).toEqual([]);
});

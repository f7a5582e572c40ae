import { beforeEach, expect, it } from "vitest";
import { AppError } from "../../platform/errors.ts";
import type { Runtime } from "../../runtimes/runtime.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  brokenLaws,
  eventsOf,
  giveTask,
  openStage,
  openWorkspace,
  startJobs,
  startWorker,
  taskReaches,
} from "../../test/run-stage.ts";
import { createQueuedRun, createTenant } from "../../test/tenant.ts";
import { reapRuns, wakeDueRuns } from "./jobs.ts";
import { claimRuns, retryRun, type Claim } from "./run-claims.ts";

const database = await createTestDatabase();
const { db, admin } = database;
const BACKOFF_MS = 60_000;

beforeEach(async () => {
  await admin.query(
    "SELECT end_task(workspace_id, task_id, 'cancelled', NULL, NULL, '{}') FROM runs WHERE state <> 'ended'",
  );
});

/** Fails with what `failures` has, in order, then succeeds. */
function failing(failures: readonly unknown[]): { runtime: Runtime; tries: () => number } {
  let tries = 0;
  return {
    tries: () => tries,
    runtime: {
      run() {
        const failure = failures[tries];
        tries += 1;
        return failure === undefined
          ? Promise.resolve({ status: "succeeded", result: "done" })
          : Promise.reject(failure);
      },
    },
  };
}

async function runOf(taskId: string) {
  const { rows } = await admin.query<{
    state: string;
    slot_no: number | null;
    failed_attempts: number;
    rests_ms: number | null;
  }>(
    `SELECT state, slot_no, failed_attempts, round(extract(epoch FROM wake_at - clock_now()) * 1000)::int AS rests_ms FROM runs WHERE task_id = $1`,
    [taskId],
  );
  return rows[0];
}

async function claimOne(): Promise<Claim> {
  const [claim] = await claimRuns(db, { workerId: "wrk_test", leaseMs: 600_000, atMost: 1 });
  return claim!;
}

async function pauseIsOver(taskId: string): Promise<void> {
  await admin.query("UPDATE runs SET wake_at = clock_now() WHERE task_id = $1", [taskId]);
  await wakeDueRuns(db);
}

it("a run whose worker was lost goes on at once the first time; the second time it rests and gives its slot to others", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 1 });
  const lost = await createQueuedRun(admin, tenant);
  const other = await createQueuedRun(admin, tenant);
  const lose = async () => {
    await admin.query(
      "UPDATE runs SET lease_until = clock_now() - interval '1 second' WHERE state = 'claimed' AND task_id = $1",
      [lost.taskId],
    );
    expect(await reapRuns(db, 0, BACKOFF_MS)).toBe(1);
  };
  await claimOne();
  await lose();
  expect(await runOf(lost.taskId)).toMatchObject({ state: "admitted", failed_attempts: 1 });
  expect(await claimOne()).toMatchObject({ runId: lost.runId, epoch: 2 });
  await lose();
  const resting = await runOf(lost.taskId);
  expect(resting).toMatchObject({ state: "parked", slot_no: null, failed_attempts: 2 });
  expect(resting!.rests_ms).toBeGreaterThan(BACKOFF_MS - 30_000);
  expect(resting!.rests_ms).toBeLessThanOrEqual(BACKOFF_MS);
  expect(await brokenLaws(database)).toEqual([]);
  const next = await claimOne();
  expect(next).toMatchObject({ runId: other.runId });
  await admin.query("SELECT end_task($1, $2, 'succeeded', NULL, '', '{}')", [
    tenant.workspaceId,
    other.taskId,
  ]);
  await pauseIsOver(lost.taskId);
  expect(await claimOne()).toMatchObject({ runId: lost.runId, epoch: 3 });
  expect(await brokenLaws(database)).toEqual([]);
  await lose();
  const { rows } = await admin.query("SELECT state, cause FROM tasks WHERE id = $1", [lost.taskId]);
  expect(rows).toEqual([{ state: "failed", cause: "attempts_exhausted" }]);
  const leases = (await eventsOf(database, lost.taskId)).filter(
    (event) => event.type === "run.lease_lost",
  );
  expect(leases.map((event) => event.data.retry_in_ms)).toEqual([0, BACKOFF_MS, null]);
});

it("the pause doubles with each failure, for what broke from the first on", async () => {
  const { rows } = await admin.query<{ lost: string; broke: string }>(
    `SELECT extract(epoch FROM retry_pause(n, 'lease_lost', interval '10 s'))::int AS lost, extract(epoch FROM retry_pause(n, 'attempt_failed', interval '10 s'))::int AS broke
     FROM generate_series(1, 5) n`,
  );
  expect(rows.map((row) => row.lost)).toEqual([0, 10, 20, 40, 80]);
  expect(rows.map((row) => row.broke)).toEqual([10, 20, 40, 80, 160]);
});

it("a run that breaks for a reason of the machine's gets another attempt, and ends well when that does", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId } = await giveTask(database, { stage, tenant });
  const { runtime, tries } = failing([
    new Error("disk full"),
    new AppError({ code: "away", status: 503, publicMessage: "Away.", retryable: true }),
  ]);
  startJobs(stage);
  startWorker(stage, { runtimeFor: () => runtime, config: { retryBackoffMs: 50 } });
  await taskReaches(database, taskId, "succeeded");
  expect(tries()).toBe(3);
  const released = (await eventsOf(database, taskId)).filter(
    (event) => event.type === "run.released",
  );
  expect(released.map((event) => event.data)).toMatchObject([
    { reason: "attempt_failed", attempt: 1, retry_in_ms: 50 },
    { reason: "attempt_failed", attempt: 2, retry_in_ms: 100 },
  ]);
  expect(await brokenLaws(database)).toEqual([]);
});

it("one that breaks every time is dead after the third, with the cause, and no worker takes it again", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId } = await giveTask(database, { stage, tenant });
  const broken = failing(Array.from({ length: 10 }, () => new Error("a bug")));
  startJobs(stage);
  startWorker(stage, { runtimeFor: () => broken.runtime, config: { retryBackoffMs: 1 } });
  expect(await taskReaches(database, taskId, "failed")).toMatchObject({
    cause: "attempts_exhausted",
  });
  const after = await giveTask(database, { stage, tenant });
  await taskReaches(database, after.taskId, "failed");
  expect(broken.tries()).toBe(6);
  const last = (await eventsOf(database, taskId)).at(-1);
  expect(last).toMatchObject({
    type: "task.failed",
    data: { message: expect.stringMatching(/3 times/) },
  });
  expect(await brokenLaws(database)).toEqual([]);
});

it("what is said to be final fails at once, with its own cause", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId } = await giveTask(database, { stage, tenant });
  const { runtime, tries } = failing([
    new AppError({ code: "files_too_large", status: 413, publicMessage: "Too large." }),
  ]);
  startWorker(stage, { runtimeFor: () => runtime });
  expect(await taskReaches(database, taskId, "failed")).toMatchObject({ cause: "files_too_large" });
  expect(tries()).toBe(1);
});

it("an attempt that was overtaken cannot send its run to rest", async () => {
  const tenant = await createTenant(admin);
  const { taskId } = await createQueuedRun(admin, tenant);
  const stale = await claimOne();
  await admin.query(
    "UPDATE runs SET lease_until = clock_now() - interval '1 second' WHERE task_id = $1",
    [taskId],
  );
  await reapRuns(db, 0, BACKOFF_MS);
  const current = await claimOne();
  expect(await retryRun(db, stale)).toBe(false);
  expect(await runOf(taskId)).toMatchObject({ state: "claimed", failed_attempts: 1 });
  expect(await retryRun(db, current)).toBe(true);
  expect(await retryRun(db, current)).toBe(false);
  expect(await runOf(taskId)).toMatchObject({ state: "parked", failed_attempts: 2 });
});

it("a child that rests keeps its parent waiting, and goes on", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 1 });
  const parent = await createQueuedRun(admin, tenant);
  const waiting = await claimOne();
  const child = await createQueuedRun(admin, tenant, { parentTaskId: parent.taskId });
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: "SELECT park_run($1, $2, 'waiting', $3, NULL, 'task.waiting')",
      values: [
        waiting.runId,
        waiting.epoch,
        JSON.stringify({ kind: "child", child_task_id: child.taskId }),
      ],
    }),
  );
  expect(await retryRun(db, await claimOne(), BACKOFF_MS)).toBe(true);
  expect(await runOf(child.taskId)).toMatchObject({ state: "parked", slot_no: null });
  expect(await brokenLaws(database)).toEqual([]);
  await pauseIsOver(child.taskId);
  expect(await claimOne()).toMatchObject({ runId: child.runId });
  await admin.query("SELECT end_task($1, $2, 'succeeded', NULL, '', '{}')", [
    tenant.workspaceId,
    child.taskId,
  ]);
  expect(await claimOne()).toMatchObject({ runId: parent.runId });
  expect(await brokenLaws(database)).toEqual([]);
});

import { afterEach, expect, it } from "vitest";
import { AppError } from "../../platform/errors.ts";
import { createTestDatabase } from "../../test/database.ts";
import type { Tenant } from "../../test/tenant.ts";
import {
  brokenLaws,
  eventsOf,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startJobs,
  startWorker,
  taskReaches,
} from "../../test/run-stage.ts";
import { claimRuns } from "./run-claims.ts";
import { wakeLimitedRuns } from "./jobs.ts";

const database = await createTestDatabase();
const { db, admin } = database;
const prompt = "Profile these CSV files and write report.md";
const inputs = { "sales.csv": salesCsv };

// Whatever a test has done to runs and limits, the laws hold in the database.
afterEach(async () => {
  expect(await brokenLaws(database)).toEqual([]);
});

type Limit = { meter: string; level: string; scopeId: string; amount: number | null };

function setLimit(tenant: Tenant, { meter, level, scopeId, amount }: Limit): Promise<unknown> {
  return db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: "SELECT set_limit($1, $2, $3, $4, 'test')",
      values: [meter, level, scopeId, amount],
    }),
  );
}

it("a run whose budget is used up pauses and gives its slot back; a raised limit lets it end, paid for once", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database, { costLimitNanoUsd: 30_000_000 });
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt, inputs });
  startJobs(stage);
  startWorker(stage);
  const { parked } = await taskReaches(database, taskId, "paused", "failed", "succeeded");
  expect(parked).toMatchObject({
    kind: "limit",
    meter: "model_cost",
    level: "workspace",
    limit: 30_000_000,
  });
  const paused = await admin.query("SELECT state, slot_no, wake_at FROM runs WHERE id = $1", [
    runId,
  ]);
  expect(paused.rows).toEqual([
    { state: "parked", slot_no: null, wake_at: expect.any(Date) as Date },
  ]);
  expect(await wakeLimitedRuns(db)).toBe(0);

  await setLimit(tenant, {
    meter: "model_cost",
    level: "workspace",
    scopeId: tenant.workspaceId,
    amount: 1_000_000_000,
  });
  const task = await taskReaches(database, taskId, "succeeded", "failed");
  expect(task.state).toBe("succeeded");
  const steps = await admin.query("SELECT 1 FROM steps WHERE run_id = $1 AND kind = 'model'", [
    runId,
  ]);
  expect(stage.simulator.meter.report().totals.billed_calls).toBe(steps.rowCount);
  const types = (await eventsOf(database, taskId)).map((event) => event.type);
  expect(types.filter((type) => type === "task.paused")).toHaveLength(1);
});

it("a woken run's need is not promised to the next one: two that fit only one by one are woken one by one", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database, { costLimitNanoUsd: 1 });
  const tasks: string[] = [];
  for (let n = 0; n < 2; n++)
    tasks.push((await giveTask(database, { stage, tenant, prompt })).taskId);
  startWorker(stage);
  let needed = 0;
  for (const taskId of tasks) {
    const { parked } = await taskReaches(database, taskId, "paused");
    needed = (parked as { needed: number }).needed;
  }
  await setLimit(tenant, {
    meter: "model_cost",
    level: "workspace",
    scopeId: tenant.workspaceId,
    amount: needed + 1,
  });
  expect(await wakeLimitedRuns(db)).toBe(1);
});

it("a run without agent time pauses before it calls a model, and goes on when there is some", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database, { agentTimeLimitMs: 0 });
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt, inputs });
  startJobs(stage);
  startWorker(stage);
  const { parked } = await taskReaches(database, taskId, "paused");
  expect(parked).toMatchObject({
    kind: "limit",
    meter: "agent_time",
    level: "workspace",
    limit: 0,
  });
  // Its own calls: what another test's woken run does on this worker is not this test's business.
  const calls = await admin.query("SELECT 1 FROM holds WHERE run_id = $1", [runId]);
  expect(calls.rowCount).toBe(0);
  await setLimit(tenant, {
    meter: "agent_time",
    level: "workspace",
    scopeId: tenant.workspaceId,
    amount: 60_000,
  });
  await taskReaches(database, taskId, "succeeded");
});

it("a run is stopped where its agent time ends, also in the middle of a call, and never used more than was booked", async () => {
  const stage = await openStage(database, { latency: { firstByteMs: 0, perEventMs: 40 } });
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, {
    stage,
    tenant,
    prompt,
    inputs,
    agentTimeLimitMs: 1_500,
  });
  startJobs(stage);
  startWorker(stage, { config: { agentTimeSliceMs: 500 } });
  const { parked } = await taskReaches(database, taskId, "paused");
  expect(parked).toMatchObject({
    kind: "limit",
    meter: "agent_time",
    level: "task",
    limit: 1_500,
    posted: 1_500,
  });
  const attempt = await admin.query<{ ms: number }>(
    "SELECT max(extract(epoch FROM ended_at - started_at) * 1000)::int AS ms FROM attempts WHERE run_id = $1",
    [runId],
  );
  expect(attempt.rows[0]!.ms).toBeGreaterThanOrEqual(1_400);
});

it("what a run did not use of its booked agent time is given back when it ends", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId } = await giveTask(database, { stage, tenant, prompt, inputs });
  startWorker(stage);
  await taskReaches(database, taskId, "succeeded");
  const { rows } = await admin.query<{ posted: number }>(
    "SELECT posted::int AS posted FROM budgets WHERE meter = 'agent_time' AND level = 'task' AND scope_id = $1",
    [taskId],
  );
  expect(rows[0]!.posted).toBeGreaterThan(0);
  expect(rows[0]!.posted).toBeLessThan(15_000);
});

it("the wall-clock limit ends a run in the middle of a call, with its cause", async () => {
  const stage = await openStage(database, { latency: { firstByteMs: 0, perEventMs: 40 } });
  const tenant = await openWorkspace(database);
  const { taskId } = await giveTask(database, {
    stage,
    tenant,
    prompt,
    inputs,
    wallTimeLimitMs: 700,
  });
  startWorker(stage);
  const task = await taskReaches(database, taskId, "failed", "succeeded");
  expect(task).toMatchObject({ state: "failed", cause: "time_limit" });
});

it("a parked run does not sleep past the wall-clock limit of its task", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database, { costLimitNanoUsd: 1 });
  const { taskId } = await giveTask(database, {
    stage,
    tenant,
    prompt,
    inputs,
    wallTimeLimitMs: 1_500,
  });
  startJobs(stage);
  startWorker(stage);
  await taskReaches(database, taskId, "paused");
  const task = await taskReaches(database, taskId, "failed");
  expect(task.cause).toBe("time_limit");
});

it("never more runs of a workspace are executed than it has slots, and every one of them ends", async () => {
  const stage = await openStage(database, { latency: { firstByteMs: 20, perEventMs: 0 } });
  const tenant = await openWorkspace(database, { concurrentTasks: 2 });
  const tasks: string[] = [];
  for (let n = 0; n < 6; n++)
    tasks.push(
      (await giveTask(database, { stage, tenant, prompt: `Task ${n}: say hello.` })).taskId,
    );
  startJobs(stage);
  startWorker(stage, { config: { concurrency: 4 } });
  startWorker(stage, { config: { concurrency: 4 } });
  for (const taskId of tasks) await taskReaches(database, taskId, "succeeded");
  // Attempts that overlap in time are runs that were executed at once.
  const { rows } = await admin.query<{ at_once: number }>(
    `SELECT max((SELECT count(*) FROM attempts b WHERE b.workspace_id = a.workspace_id AND b.started_at <= a.started_at AND b.ended_at > a.started_at))::int AS at_once
     FROM attempts a WHERE a.workspace_id = $1`,
    [tenant.workspaceId],
  );
  expect(rows[0]!.at_once).toBe(2);
});

it("after the number of slots was lowered nothing starts until fewer run than the new number", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database, { concurrentTasks: 3 });
  for (let n = 0; n < 4; n++) await giveTask(database, { stage, tenant, prompt });
  const withSlots = async (): Promise<number> => {
    await claimRuns(db, { workerId: "wrk_test", leaseMs: 600_000, atMost: 4 });
    const { rows } = await admin.query<{ task_id: string }>(
      "SELECT task_id FROM runs WHERE workspace_id = $1 AND slot_no IS NOT NULL",
      [tenant.workspaceId],
    );
    const [first] = rows;
    await admin.query("SELECT end_task($1, $2, 'cancelled', NULL, NULL, '{}')", [
      tenant.workspaceId,
      first?.task_id,
    ]);
    return rows.length;
  };
  expect(await withSlots()).toBe(3);
  await setLimit(tenant, {
    meter: "concurrent_tasks",
    level: "workspace",
    scopeId: tenant.workspaceId,
    amount: 1,
  });
  expect([await withSlots(), await withSlots(), await withSlots()]).toEqual([2, 1, 1]);
});

it("a run that each time ends because the database is away fails after its third attempt, and does not go round for ever", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt });
  const away = new AppError({
    code: "database_unavailable",
    status: 503,
    publicMessage: "The database cannot be reached.",
  });
  startJobs(stage);
  startWorker(stage, {
    runtimeFor: () => ({ run: () => Promise.reject(away) }),
    config: { leaseMs: 500 },
  });
  const task = await taskReaches(database, taskId, "failed", "succeeded");
  expect(task.cause).toBe("attempts_exhausted");
  const attempts = await admin.query("SELECT 1 FROM attempts WHERE run_id = $1", [runId]);
  expect(attempts.rowCount).toBe(3);
});

import { expect, it } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { createQueuedRun, createTenant } from "../../test/tenant.ts";
import { createJobFailures } from "../../platform/job-failures.ts";
import { createLogger } from "../../platform/log.ts";
import { createRunJobs, reapRuns, wakeDueRuns, wakeLimitedRuns } from "./jobs.ts";

const { db, admin } = await createTestDatabase();

/** Many copies of one task, as they are when all of them stopped at the same time. */
async function createMany(many: {
  count: number;
  task: { state: string; parked: object | null };
  run: { state: string; slots: boolean; wakeAt?: string; leaseUntil?: string };
}): Promise<string> {
  const { workspaceId } = await createTenant(admin).then(async (tenant) => {
    await createQueuedRun(admin, tenant);
    return tenant;
  });
  const { count, task, run } = many;
  const parked = task.parked === null ? null : JSON.stringify(task.parked);
  await admin.query(
    `INSERT INTO tasks (workspace_id, id, agent_id, title, prompt, root_task_id, state, parked, cost_limit_nano_usd, wall_time_limit_ms,
       agent_time_limit_ms, model_call_limit, tool_call_limit, created_by, started_at)
     SELECT workspace_id, id || g, agent_id, title, prompt, id || g, $3, $4, cost_limit_nano_usd, wall_time_limit_ms,
       agent_time_limit_ms, model_call_limit, tool_call_limit, created_by, clock_now() FROM tasks, generate_series(1, $2::int) g WHERE workspace_id = $1`,
    [workspaceId, count, task.state, parked],
  );
  await admin.query(
    `INSERT INTO runs (workspace_id, id, task_id, state, epoch, slot_no, wake_at, lease_until)
     SELECT workspace_id, id || g, task_id || g, $3, 1, CASE WHEN $4 THEN g END, $5, $6 FROM runs, generate_series(1, $2::int) g WHERE workspace_id = $1`,
    [workspaceId, count, run.state, run.slots, run.wakeAt ?? null, run.leaseUntil ?? null],
  );
  return workspaceId;
}

/** How many each round moved, until there is nothing left. */
async function roundsOf(job: () => Promise<number>): Promise<number[]> {
  const moved: number[] = [];
  for (;;) {
    const count = await job();
    if (count === 0) return moved;
    moved.push(count);
  }
}

const PAST = "2020-01-01T00:00:00Z";

it("however many runs may go on at once, a round takes a bounded number, and the rounds take all", async () => {
  await createMany({
    count: 250,
    task: { state: "paused", parked: { kind: "limit", meter: "model_cost", needed: 1_000 } },
    run: { state: "parked", slots: false },
  });
  expect(await roundsOf(() => wakeLimitedRuns(db))).toEqual([200, 50]);
});

it("runs that a limit still stops do not keep those behind them from going on", async () => {
  const stopped = { kind: "limit", meter: "model_cost", needed: 1_000_000_000_000 };
  const task = { state: "paused", parked: stopped };
  await createMany({ count: 250, task, run: { state: "parked", slots: false } });
  await createMany({
    count: 1,
    task: { state: "paused", parked: { ...stopped, needed: 1_000 } },
    run: { state: "parked", slots: false },
  });
  await expect.poll(() => wakeLimitedRuns(db), { timeout: 30_000 }).toBe(1);
});

it("runs of a suspended workspace wait until it is no more, whatever had paused them", async () => {
  const ids: string[] = [];
  for (const parked of [
    { kind: "suspended", reason: "operator" },
    { kind: "limit", meter: "model_cost", needed: 1_000 },
  ])
    ids.push(
      await createMany({
        count: 1,
        task: { state: "paused", parked },
        run: { state: "parked", slots: false },
      }),
    );
  const suspend = (reason: string | null) =>
    admin.query("UPDATE workspaces SET suspended = $2 WHERE workspace_id = ANY ($1)", [
      ids,
      reason,
    ]);
  const parkedRuns = async () =>
    (
      await admin.query("SELECT 1 FROM runs WHERE workspace_id = ANY ($1) AND state = 'parked'", [
        ids,
      ])
    ).rowCount;
  await suspend("operator");
  await wakeLimitedRuns(db);
  expect(await parkedRuns()).toBe(2);
  await suspend(null);
  await expect
    .poll(async () => [await wakeLimitedRuns(db), await parkedRuns()], { timeout: 30_000 })
    .toEqual([expect.any(Number), 0]);
});

it("runs whose time has come at once wake in bounded rounds", async () => {
  await createMany({
    count: 250,
    task: { state: "waiting", parked: { kind: "question", question_id: "qst_1" } },
    run: { state: "parked", slots: false, wakeAt: PAST },
  });
  expect(await roundsOf(() => wakeDueRuns(db))).toEqual([200, 50]);
});

it("leases that were lost at once are taken back in bounded rounds", async () => {
  await createMany({
    count: 250,
    task: { state: "running", parked: null },
    run: { state: "claimed", slots: true, leaseUntil: PAST },
  });
  expect(await roundsOf(() => reapRuns(db, 0))).toEqual([200, 50]);
});

it("what stopped together goes on together: one look takes it all, however many statements that are", async () => {
  const lost = await createMany({
    count: 450,
    task: { state: "running", parked: null },
    run: { state: "claimed", slots: true, leaseUntil: PAST },
  });
  const due = await createMany({
    count: 450,
    task: { state: "waiting", parked: { kind: "question", question_id: "qst_1" } },
    run: { state: "parked", slots: false, wakeAt: PAST },
  });
  const looked = Promise.withResolvers<void>();
  const jobs = createRunJobs({
    db,
    config: { graceMs: 0, intervalMs: 600_000 },
    onReady: looked.resolve,
    failures: createJobFailures(createLogger({ level: "silent" })),
  });
  jobs.start();
  await looked.promise;
  await jobs.close();
  const { rowCount } = await admin.query(
    "SELECT 1 FROM runs WHERE workspace_id = ANY ($1) AND (state = 'claimed' OR wake_at IS NOT NULL)",
    [[lost, due]],
  );
  expect(rowCount).toBe(0);
});

it("who comes behind many workspaces that have no slot left is found in the same look", async () => {
  for (let n = 0; n < 130; n++)
    await createQueuedRun(admin, await createTenant(admin, { concurrentTasks: 0 }));
  const newcomer = await createTenant(admin);
  await createQueuedRun(admin, newcomer);
  const looked = Promise.withResolvers<void>();
  const jobs = createRunJobs({
    db,
    config: { graceMs: 0, intervalMs: 600_000 },
    onReady: looked.resolve,
    failures: createJobFailures(createLogger({ level: "silent" })),
  });
  jobs.start();
  await looked.promise;
  await jobs.close();
  const { rows } = await admin.query("SELECT ready FROM run_queues WHERE workspace_id = $1", [
    newcomer.workspaceId,
  ]);
  expect(rows).toEqual([{ ready: true }]);
});

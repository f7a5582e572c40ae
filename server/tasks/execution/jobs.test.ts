import { expect, it } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { createQueuedRun, createTenant } from "../../test/tenant.ts";
import { createJobFailures } from "../../platform/job-failures.ts";
import { createLogger } from "../../platform/log.ts";
import { createRunJobs, reapRuns, wakeDueRuns, wakeLimitedRuns, wakeUnpricedRuns } from "./jobs.ts";

const { db, admin } = await createTestDatabase();
let tenants = 0;

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

/** All jobs, once. Something has to become ready by it. */
async function lookOnce(): Promise<void> {
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
}

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
  await lookOnce();
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
  await lookOnce();
  const { rows } = await admin.query("SELECT ready FROM run_queues WHERE workspace_id = $1", [
    newcomer.workspaceId,
  ]);
  expect(rows).toEqual([{ ready: true }]);
});

/** So many workspaces with one run each that is parked, beside a workspace of many. */
async function createWorkspaces(
  count: number,
  task: { state: string; parked: object | null },
  wakeAt: string | null,
): Promise<string[]> {
  const prefix = `ws_w${tenants++}x`;
  const parked = task.parked === null ? null : JSON.stringify(task.parked);
  await admin.query("INSERT INTO billing_accounts (id, name) VALUES ($1, 'x')", [prefix]);
  await admin.query(
    `INSERT INTO workspaces (workspace_id, name, billing_account_id, plan) SELECT $1 || lpad(g::text, 6, '0'), 'x', $1, 'self_hosted' FROM generate_series(1, $2::int) g`,
    [prefix, count],
  );
  await admin.query(
    `INSERT INTO agents (workspace_id, id, name, role, traits, voice, system_prompt, tools, model, desk)
     SELECT workspace_id, 'gray', 'x', 'x', '{}', 'x', 'x', '{}', 'claude-sonnet-4-5', 1 FROM workspaces WHERE billing_account_id = $1`,
    [prefix],
  );
  await admin.query(
    `INSERT INTO tasks (workspace_id, id, agent_id, title, prompt, root_task_id, state, parked, cost_limit_nano_usd, wall_time_limit_ms,
       agent_time_limit_ms, model_call_limit, tool_call_limit, created_by, started_at)
     SELECT workspace_id, 'task_1', 'gray', 'x', 'x', 'task_1', $2, $3, 500000000, 86400000, 3600000, 200, 1000, 'user:x', clock_now()
       FROM workspaces WHERE billing_account_id = $1`,
    [prefix, task.state, parked],
  );
  await admin.query(
    `INSERT INTO runs (workspace_id, id, task_id, state, epoch, wake_at)
     SELECT workspace_id, 'run_1', 'task_1', 'parked', 1, $2 FROM workspaces WHERE billing_account_id = $1`,
    [prefix, wakeAt],
  );
  const { rows } = await admin.query<{ workspace_id: string }>(
    "SELECT workspace_id FROM workspaces WHERE billing_account_id = $1",
    [prefix],
  );
  return rows.map((row) => row.workspace_id);
}

async function parkedIn(workspaceIds: readonly string[]): Promise<number> {
  const { rowCount } = await admin.query(
    "SELECT 1 FROM runs WHERE workspace_id = ANY ($1) AND state = 'parked'",
    [workspaceIds],
  );
  return rowCount!;
}

/** How many rounds pass until none of these workspaces has a parked run any more. */
async function roundsUntilWoken(
  workspaceIds: readonly string[],
  job: () => Promise<number>,
): Promise<number> {
  for (let rounds = 0; ; rounds++) {
    if ((await parkedIn(workspaceIds)) === 0) return rounds;
    if (rounds === 100) return Infinity;
    await job();
  }
}

/** Ends what earlier tests left, so that nobody is counted in. */
async function endAll(): Promise<void> {
  await admin.query("SET session_replication_role = replica");
  for (const table of ["runs", "tasks", "streams", "events", "slot_changes", "limit_changes"])
    await admin.query(`DELETE FROM ${table}`);
  await admin.query("SET session_replication_role = origin");
}

/** How many rows a statement reads of these tables, however it finds them. */
async function rowsReadBy(statement: string): Promise<number> {
  const readSoFar = async () => {
    const { rows } = await admin.query<{ n: number }>(
      `SELECT sum(seq_tup_read + idx_tup_fetch)::int AS n FROM pg_stat_xact_user_tables WHERE relname IN ('runs', 'tasks')`,
    );
    return rows[0]!.n;
  };
  await admin.query("BEGIN");
  const before = await readSoFar();
  await admin.query(statement);
  const after = await readSoFar();
  await admin.query("ROLLBACK");
  return after - before;
}

const waiting = { state: "waiting", parked: { kind: "question", question_id: "qst_1" } };
const limitedBy = (needed: number) => ({
  state: "paused",
  parked: { kind: "limit", meter: "model_cost", needed },
});
const TOO_MUCH = 1_000_000_000_000;
const LATER = "2020-01-01T00:00:01Z";

it("due runs of one workspace, however many, do not keep another's from waking in the next round", async () => {
  await endAll();
  await createMany({
    count: 2_000,
    task: waiting,
    run: { state: "parked", slots: false, wakeAt: PAST },
  });
  const others = await createWorkspaces(3, waiting, LATER);
  expect(await roundsUntilWoken(others, () => wakeDueRuns(db))).toBe(1);
  // And the rest of the round goes to the flood, so the caller knows that there may be more.
  expect(await wakeDueRuns(db)).toBe(200);
});

it("with more workspaces that have due runs than a round takes each has its turn", async () => {
  await endAll();
  // Nothing is due of these, but they have to be stepped over.
  await createWorkspaces(2_500, waiting, "2100-01-01T00:00:00Z");
  for (let n = 0; n < 3; n++)
    await createMany({
      count: 2_000,
      task: waiting,
      run: { state: "parked", slots: false, wakeAt: PAST },
    });
  const others = await createWorkspaces(500, waiting, LATER);
  // 503 have something due, 200 are served a round; 3,003 are stepped over, 2,000 a round.
  expect(await roundsUntilWoken(others, () => wakeDueRuns(db))).toBeLessThanOrEqual(5);
});

it("of one workspace the earliest wake first, also when others are due", async () => {
  await endAll();
  await createMany({
    count: 1_000,
    task: waiting,
    run: { state: "parked", slots: false, wakeAt: PAST },
  });
  const id = await createMany({
    count: 1_000,
    task: waiting,
    run: { state: "parked", slots: false, wakeAt: LATER },
  });
  await admin.query(
    "UPDATE runs SET wake_at = wake_at + substr(id, length(id) - 2)::int * interval '1 s' WHERE workspace_id = $1 AND id ~ '[0-9]{3}$' AND wake_at IS NOT NULL",
    [id],
  );
  await wakeDueRuns(db);
  const { rows } = await admin.query<{ ordered: boolean }>(
    `SELECT coalesce(max(x.turn) FILTER (WHERE x.state <> 'parked') < min(x.turn) FILTER (WHERE x.state = 'parked'), false) AS ordered FROM (
       SELECT r.state, (substr(r.id, length(r.id) - 2))::int AS turn FROM runs r WHERE r.workspace_id = $1 AND r.id ~ '[0-9]{3}$' AND r.epoch = 1) x`,
    [id],
  );
  expect(rows).toEqual([{ ordered: true }]);
});

it("paused runs of one workspace, however many, do not keep another's from going on in the next round", async () => {
  await endAll();
  await createMany({
    count: 2_000,
    task: limitedBy(TOO_MUCH),
    run: { state: "parked", slots: false },
  });
  const others = await createWorkspaces(3, limitedBy(1_000), null);
  expect(await roundsUntilWoken(others, () => wakeLimitedRuns(db))).toBe(1);
});

it("with more workspaces that have paused runs than a round takes each has its turn, and one whose limit was changed the next one", async () => {
  await endAll();
  await createWorkspaces(600, limitedBy(TOO_MUCH), null);
  const others = await createWorkspaces(200, limitedBy(1_000), null);
  expect(await roundsUntilWoken(others, () => wakeLimitedRuns(db))).toBeLessThanOrEqual(4);
  for (let n = 0; n < 5; n++) {
    const [raised] = await createWorkspaces(1, limitedBy(1_000), null);
    await db.withWorkspace(raised!, (tx) =>
      tx.query({
        text: "SELECT set_limit('model_cost', 'workspace', current_workspace(), 2000, 'test')",
        values: [],
      }),
    );
    expect(await roundsUntilWoken([raised!], () => wakeLimitedRuns(db))).toBe(1);
  }
});

it("of one workspace each paused run is looked at in turn, whatever stops those before it", async () => {
  await endAll();
  await createWorkspaces(1, limitedBy(TOO_MUCH), null);
  const id = await createMany({
    count: 1_000,
    task: limitedBy(TOO_MUCH),
    run: { state: "parked", slots: false },
  });
  await admin.query(
    `UPDATE tasks SET parked = $2 WHERE workspace_id = $1 AND state = 'paused' AND id LIKE '%7'`,
    [id, JSON.stringify(limitedBy(1_000).parked)],
  );
  // At least 100 of a round are its own.
  let woken = 0;
  for (let round = 0; round < 11; round++) woken += await wakeLimitedRuns(db);
  expect(woken).toBe(100);
});

it("runs without a price have their turn, too", async () => {
  await endAll();
  const unpriced = { state: "paused", parked: { kind: "unpriced", model: "none" } };
  await createMany({ count: 2_000, task: unpriced, run: { state: "parked", slots: false } });
  const others = await createWorkspaces(3, unpriced, null);
  await admin.query(
    `INSERT INTO attempts (workspace_id, run_id, epoch, worker_id, token_hash, ended_at) SELECT workspace_id, id, 1, 'x', 'x', clock_now() FROM runs WHERE state = 'parked'`,
  );
  expect(await roundsUntilWoken(others, () => wakeUnpricedRuns(db, ["claude-sonnet-4-5"]))).toBe(1);
});

it("no round reads what a workspace has parked, nor with plans that were made before there was any", async () => {
  await endAll();
  const statements = [
    "SELECT wake_due_runs()",
    "SELECT wake_limited_runs()",
    "SELECT wake_unpriced_runs('{none}', interval '1 minute')",
  ];
  for (const statement of statements) await admin.query(statement);
  const count = 10_000;
  for (const task of [
    limitedBy(TOO_MUCH),
    waiting,
    { state: "paused", parked: { kind: "unpriced", model: "none" } },
  ])
    await createMany({ count, task, run: { state: "parked", slots: false, wakeAt: PAST } });
  await createWorkspaces(50, limitedBy(TOO_MUCH), LATER);
  for (const analyzed of [false, true]) {
    if (analyzed) await admin.query("ANALYZE runs, tasks");
    for (const statement of statements) {
      const read = await rowsReadBy(statement);
      expect([statement, read < 3_000]).toEqual([statement, true]);
    }
  }
});

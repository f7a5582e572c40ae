import { setTimeout as delay } from "node:timers/promises";
import type pg from "pg";
import { createTenant, type Tenant } from "../../server/test/tenant.ts";
import { startBenchPostgres, type BenchDatabase } from "../database.ts";
import { percentile, printTable, takeTurns, type Contestant } from "../figures.ts";
import { createOwnQueue } from "./own-queue.ts";

const WORKSPACES = 10_000;
const NEWCOMERS = 60;
const PER_SECOND = 20;
const ROUNDS = 5;

/**
 * Workspaces whose only slot is taken by a run that goes on elsewhere, while their other tasks wait for it. By SQL, past
 * the doors and triggers.
 */
async function fillBacklog(admin: pg.Client, tasks: number): Promise<void> {
  const each = Math.ceil(tasks / WORKSPACES);
  const model = await createTenant(admin);
  await admin.query("SET session_replication_role = replica");
  await admin.query(
    `INSERT INTO workspaces (workspace_id, name, billing_account_id, plan)
       SELECT 'ws_full' || w, 'Backlog', $1, 'free' FROM generate_series(1, ${WORKSPACES}) w`,
    [model.billingAccountId],
  );
  await admin.query(
    `INSERT INTO limits (workspace_id, meter, level, scope_id, version, amount, changed_by)
       SELECT 'ws_full' || w, 'concurrent_tasks', 'workspace', 'ws_full' || w, 1, 1, 'bench' FROM generate_series(1, ${WORKSPACES}) w`,
  );
  await admin.query(
    `WITH x AS (SELECT 'ws_full' || w AS ws, 'task_full' || t AS task, 'run_full' || t AS run, t FROM generate_series(1, ${WORKSPACES}) w, generate_series(1, $2::int) t),
      task AS (INSERT INTO tasks (workspace_id, id, agent_id, title, prompt, state, root_task_id, depth, cost_limit_nano_usd, wall_time_limit_ms, agent_time_limit_ms, model_call_limit, tool_call_limit, created_by)
        SELECT ws, task, $1, 'Backlog', 'x', CASE WHEN t = 1 THEN 'running' ELSE 'queued' END, task, 0, 500000000, 86400000, 3600000, 200, 1000, 'user:bench' FROM x),
      attempt AS (INSERT INTO attempts (workspace_id, run_id, epoch, worker_id, token_hash) SELECT ws, run, 1, 'wrk_elsewhere', 'none' FROM x WHERE t = 1)
    INSERT INTO runs (workspace_id, id, task_id, state, slot_no, epoch, worker_id, lease_until, turn_at)
      SELECT ws, run, task, CASE WHEN t = 1 THEN 'claimed' ELSE 'queued' END, CASE WHEN t = 1 THEN 1 END, CASE WHEN t = 1 THEN 1 ELSE 0 END,
        CASE WHEN t = 1 THEN 'wrk_elsewhere' END, CASE WHEN t = 1 THEN clock_now() + interval '1 day' END, clock_now() FROM x`,
    [model.agentId, each],
  );
  await admin.query(
    `INSERT INTO run_queues (workspace_id, pass) SELECT 'ws_full' || w, 1000000 FROM generate_series(1, ${WORKSPACES}) w`,
  );
  await admin.query("SET session_replication_role = origin");
  await admin.query("VACUUM ANALYZE");
  await admin.query("CHECKPOINT");
}

/** The first task of one new workspace after the other, at a steady pace: from its creation to the start of its agent. */
async function newcomers(
  database: BenchDatabase,
  name: string,
): Promise<{ contestant: Contestant; close(): Promise<void> }> {
  const queue = createOwnQueue(database);
  const startedAt = new Map<string, number>();
  await queue.work({
    concurrency: 32,
    onStart: (taskId) => startedAt.set(taskId, performance.now()),
  });

  async function firstTask(tenant: Tenant): Promise<number> {
    const begun = performance.now();
    const taskId = await queue.create(tenant);
    while (!startedAt.has(taskId)) await delay(1);
    return (startedAt.get(taskId) ?? Number.NaN) - begun;
  }

  return {
    close: () => queue.rest(),
    contestant: {
      name,
      async round() {
        const tenants: Tenant[] = [];
        for (let n = 0; n < NEWCOMERS; n++) tenants.push(await createTenant(database.admin));
        const begun = performance.now();
        const eachMs = await Promise.all(
          tenants.map(async (tenant, n) => {
            await delay((n * 1_000) / PER_SECOND);
            return firstTask(tenant);
          }),
        );
        return {
          perSecond: (NEWCOMERS * 1_000) / (performance.now() - begun),
          p50Ms: percentile(eachMs, 0.5),
          p99Ms: percentile(eachMs, 0.99),
        };
      },
    },
  };
}

/** How long a new workspace's first task waits, with none and with very many tasks of others waiting for their slots. */
export async function benchBacklog(options: { waiting: number }): Promise<void> {
  const postgres = await startBenchPostgres();
  try {
    const empty = await postgres.createDatabase("bench_queue_empty");
    const full = await postgres.createDatabase("bench_queue_full");
    await fillBacklog(full.admin, options.waiting);
    const sides = [
      await newcomers(empty, "none waiting"),
      await newcomers(full, `${options.waiting} tasks waiting in ${WORKSPACES} workspaces`),
    ];
    const taken = await takeTurns(
      sides.map((side) => side.contestant),
      ROUNDS,
    );
    for (const side of sides) await side.close();
    const base = taken[0]?.figures.p50Ms ?? Number.NaN;
    printTable(
      taken.map(({ name, figures }) => ({
        what: name,
        "p50 ms": figures.p50Ms,
        "p99 ms": figures.p99Ms,
        "ratio of p50": figures.p50Ms / base,
      })),
    );
    console.log("\nTarget: at most 1.5 times.");
  } finally {
    await postgres.close();
  }
}

import { setTimeout as delay } from "node:timers/promises";
import type pg from "pg";
import { createTenant, type Tenant } from "../../server/test/tenant.ts";
import { type BenchDatabase, startBenchPostgres } from "../database.ts";
import { percentile, printTable } from "../figures.ts";
import { createOwnQueue } from "./own-queue.ts";

const FLOOD = 100_000;
const SLOTS = 16;
const OTHERS = 20;
const TASKS_EACH = 15;
/** Each of the others gives a task so often. */
const EVERY_MS = 1_000;
const RUN_MS = 1_000;
const CONCURRENCY = 64;
const ROUNDS = 3;

/** So many queued tasks of one workspace, with all that creating them writes, less audit and outbox. */
async function fillFlood(admin: pg.Client): Promise<void> {
  const { workspaceId, agentId } = await createTenant(admin);
  await admin.query(
    `INSERT INTO limits (workspace_id, meter, level, scope_id, version, amount, changed_by)
       VALUES ($1, 'concurrent_tasks', 'workspace', $1, 1, ${SLOTS}, 'bench')`,
    [workspaceId],
  );
  await admin.query(
    `WITH x AS (SELECT 'task_flood' || t AS task, 'run_flood' || t AS run FROM generate_series(1, ${FLOOD}) t),
      task AS (INSERT INTO tasks (workspace_id, id, agent_id, title, prompt, state, root_task_id, depth, cost_limit_nano_usd, wall_time_limit_ms, agent_time_limit_ms, model_call_limit, tool_call_limit, created_by)
        SELECT $1, task, $2, 'Flood', 'x', 'queued', task, 0, 500000000, 86400000, 3600000, 200, 1000, 'user:bench' FROM x),
      stream AS (INSERT INTO streams (workspace_id, id, last_seq) SELECT $1, task, 0 FROM x)
    INSERT INTO runs (workspace_id, id, task_id, state) SELECT $1, run, task, 'queued' FROM x`,
    [workspaceId, agentId],
  );
  await admin.query("VACUUM ANALYZE");
  await admin.query("CHECKPOINT");
}

/** Some workspaces give a task a second each. -> from the beginning of each creation to the start of its agent, ms */
async function startDelays(database: BenchDatabase): Promise<number[]> {
  const tenants: Tenant[] = [];
  for (let n = 0; n < OTHERS; n++) tenants.push(await createTenant(database.admin));
  const queue = createOwnQueue(database);
  const startedAt = new Map<string, number>();
  await queue.work({
    concurrency: CONCURRENCY,
    runMs: RUN_MS,
    onStart: (taskId) => startedAt.set(taskId, performance.now()),
  });
  // The flood has all its slots by then.
  await delay(2_000);

  async function one(tenant: Tenant): Promise<number> {
    const begun = performance.now();
    const taskId = await queue.create(tenant);
    while (!startedAt.has(taskId)) await delay(1);
    return (startedAt.get(taskId) ?? Number.NaN) - begun;
  }
  const each = tenants.map(async (tenant, place) => {
    const begun = performance.now() + (place * EVERY_MS) / OTHERS;
    const delays: Promise<number>[] = [];
    for (let n = 0; n < TASKS_EACH; n++) {
      await delay(Math.max(0, begun + n * EVERY_MS - performance.now()));
      delays.push(one(tenant));
    }
    return Promise.all(delays);
  });
  const delays = (await Promise.all(each)).flat();
  await queue.rest();
  return delays;
}

/**
 * How long the tasks of 20 workspaces wait for a worker, by themselves and beside one workspace that has 100,000 tasks
 * waiting and as many running as its 16 slots allow; each run lasts a second, as one that waits for a model.
 */
export async function benchFlood(): Promise<void> {
  const postgres = await startBenchPostgres();
  try {
    const alone = await postgres.createDatabase("bench_flood_none");
    const flooded = await postgres.createDatabase("bench_flood");
    await fillFlood(flooded.admin);
    const sides = [
      { what: "20 workspaces by themselves", database: alone },
      { what: `beside one with ${FLOOD} tasks`, database: flooded },
    ];
    const taken = new Map<string, number[]>(sides.map(({ what }) => [what, []]));
    for (let round = 0; round <= ROUNDS; round++)
      for (const { what, database } of sides) {
        const delays = await startDelays(database);
        if (round > 0) taken.get(what)?.push(...delays);
      }
    const base = percentile(taken.get("20 workspaces by themselves") ?? [], 0.95);
    printTable(
      [...taken].map(([what, delays]) => ({
        what,
        "p50 ms": percentile(delays, 0.5),
        "p95 ms": percentile(delays, 0.95),
        "p99 ms": percentile(delays, 0.99),
        "ratio of p95": percentile(delays, 0.95) / base,
      })),
    );
    const { rows } = await flooded.admin.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM runs WHERE state = 'ended' AND id LIKE 'run_flood%'",
    );
    console.log(`\n${rows[0]?.n} tasks of the flood ran meanwhile.`);
    console.log("Target: p95 below 2,000 ms and below 2 times.");
  } finally {
    await postgres.close();
  }
}

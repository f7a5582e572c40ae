import { Registry } from "prom-client";
import { beforeEach, expect, it } from "vitest";
import { systemClock } from "../platform/clock.ts";
import { createLogger } from "../platform/log.ts";
import { createTestDatabase } from "../test/database.ts";
import { giveTask, openStage, openWorkspace, startWorker, taskReaches } from "../test/run-stage.ts";
import { createQueuedRun, createTenant } from "../test/tenant.ts";
import { reapRuns } from "../tasks/execution/jobs.ts";
import { claimRuns, openQueues, retryRun } from "../tasks/execution/run-claims.ts";
import { addQueueMetrics, readQueueDepth } from "./queue-metrics.ts";
import { createStartDelays } from "./start-delays.ts";

const database = await createTestDatabase();
const { db, admin } = database;
const log = createLogger({ level: "silent" });
const counts = { sent: 5, dropped: 1, received: 4, otherVersion: 0, dead: 2 };
const transport = { name: "redis", counts, isConnected: () => false } as const;

async function figures(options: Partial<Parameters<typeof addQueueMetrics>[1]> = {}) {
  const registry = new Registry();
  addQueueMetrics(registry, {
    transport,
    runsPerWorker: 4,
    db,
    clock: systemClock,
    log,
    ...options,
  });
  return (await registry.metrics()).split("\n").filter((line) => line.startsWith("guildhall_"));
}

beforeEach(async () => {
  await admin.query(
    "SELECT end_task(workspace_id, task_id, 'cancelled', NULL, NULL, '{}') FROM runs WHERE state <> 'ended'",
  );
});

it("each open run is counted once, by what it waits for, and the dead by themselves", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 5 });
  const make = () => createQueuedRun(admin, tenant);
  const dead = await make();
  await admin.query("SELECT end_task($1, $2, 'failed', 'attempts_exhausted', NULL, '{}')", [
    tenant.workspaceId,
    dead.taskId,
  ]);
  for (let n = 0; n < 8; n++) await make();
  const claims = await claimRuns(db, { workerId: "wrk_test", leaseMs: 600_000, atMost: 5 });
  const [asks, pauses, breaks] = claims;
  const park = (n: number, state: string, reason: object) =>
    db.withWorkspace(tenant.workspaceId, (tx) =>
      tx.query({
        text: "SELECT park_run($1, $2, $3, $4, NULL, 'task.' || $3)",
        values: [claims[n]!.runId, claims[n]!.epoch, state, JSON.stringify(reason)],
      }),
    );
  await park(0, "waiting", { kind: "timer" });
  await park(1, "paused", { kind: "suspended", reason: "operator" });
  expect(await retryRun(db, breaks!, 60_000)).toBe(true);
  expect([asks, pauses]).toHaveLength(2);
  const later = await make();
  await admin.query(
    "UPDATE runs SET state = 'parked', wake_at = clock_now() + interval '1 hour' WHERE task_id = $1",
    [later.taskId],
  );
  await make();
  await openQueues(db);
  expect((await readQueueDepth(db)).byState).toEqual({
    queued: 1,
    ready: 3,
    running: 2,
    delayed: 1,
    resting: 1,
    waiting: 1,
    paused: 1,
  });
  const lines = await figures();
  for (const line of [
    'guildhall_queue_depth{state="ready"} 3',
    'guildhall_queue_depth{state="resting"} 1',
    "guildhall_dead_tasks 1",
    // (2 + 3) of 4 x 0.8.
    "guildhall_workers_wanted 2",
    'guildhall_wakes_total{transport="redis",outcome="dropped"} 1',
    'guildhall_wakes_total{transport="redis",outcome="dead"} 2',
    'guildhall_wake_transport_up{transport="redis"} 0',
  ])
    expect(lines).toContain(line);
  await admin.query(
    "UPDATE runs SET queued_at = clock_now() - interval '30 seconds' WHERE state = 'queued'",
  );
  await admin.query("UPDATE run_queues SET ready_since = clock_now() - interval '1 hour'");
  const late = await figures();
  expect(late).toContain("guildhall_workers_wanted 3");
  expect(late).toContainEqual(expect.stringMatching(/^guildhall_queue_oldest_ready_seconds 3\d\./));
});

it("a run that waited for its slot is late only by what it then waits for a worker", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 1 });
  await createQueuedRun(admin, tenant);
  const [first] = await claimRuns(db, { workerId: "wrk_test", leaseMs: 600_000, atMost: 1 });
  await createQueuedRun(admin, tenant);
  await admin.query(
    "UPDATE runs SET queued_at = clock_now() - interval '1 hour' WHERE state = 'queued'",
  );
  await openQueues(db);
  expect(await readQueueDepth(db)).toMatchObject({ byState: { queued: 1, ready: 0 } });
  await admin.query("SELECT end_task($1, $2, 'succeeded', NULL, '', '{}')", [
    tenant.workspaceId,
    first!.taskId,
  ]);
  await openQueues(db);
  const depth = await readQueueDepth(db);
  expect(depth).toMatchObject({ byState: { queued: 0, ready: 1 } });
  expect(depth.oldestReadyMs).toBeLessThan(60_000);
  await admin.query("UPDATE run_queues SET ready_since = clock_now() - interval '30 seconds'");
  expect((await readQueueDepth(db)).oldestReadyMs).toBeGreaterThan(29_000);
});

it("an empty queue wants nobody", async () => {
  const lines = await figures();
  expect(lines).toContain("guildhall_workers_wanted 0");
  expect(lines).toContain('guildhall_queue_depth{state="queued"} 0');
});

it("with the database away the queue is unknown, not empty, and the bell's figures are told", async () => {
  const away = { ...db, withPlatform: () => Promise.reject(new Error("away")) };
  const lines = await figures({ db: away });
  expect(lines).toContainEqual(expect.stringMatching(/^guildhall_workers_wanted nan$/i));
  expect(lines.filter((line) => line.startsWith("guildhall_queue_depth"))).toEqual([]);
  expect(lines).toContain('guildhall_wakes_total{transport="redis",outcome="sent"} 5');
});

it("however often it is scraped, the database is asked once in a while", async () => {
  let asked = 0;
  const counting: typeof db = {
    ...db,
    withPlatform: (work) => {
      asked += 1;
      return db.withPlatform(work);
    },
  };
  const registry = new Registry();
  addQueueMetrics(registry, {
    transport,
    runsPerWorker: 4,
    db: counting,
    clock: { ...systemClock, monotonicMs: () => 0 },
    log,
  });
  await Promise.all([registry.metrics(), registry.metrics()]);
  await registry.metrics();
  expect(asked).toBe(1);
});

it("the start delay counts from a run's being queued to each attempt's start", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const startDelays = createStartDelays();
  const { taskId } = await giveTask(database, { stage, tenant });
  await admin.query(
    "UPDATE runs SET queued_at = clock_now() - interval '90 seconds' WHERE task_id = $1",
    [taskId],
  );
  const [claim] = await claimRuns(db, { workerId: "wrk_lost", leaseMs: 1, atMost: 1 });
  expect(claim?.taskId).toBe(taskId);
  await expect.poll(() => reapRuns(db, 0)).toBe(1);
  const worker = startWorker(stage, {
    runtimeFor: () => ({ run: () => Promise.resolve({ status: "succeeded", result: "" }) }),
    onStart: ({ delayMs }) => startDelays.observe(delayMs / 1_000),
  });
  const second = await giveTask(database, { stage, tenant });
  await admin.query(
    "UPDATE runs SET queued_at = clock_now() - interval '90 seconds' WHERE task_id = $1 AND state = 'queued'",
    [second.taskId],
  );
  worker.wake();
  await taskReaches(database, taskId, "succeeded");
  await taskReaches(database, second.taskId, "succeeded");
  const lines = await figures({ worker: { ...worker, startDelays } });
  expect(lines).toContain("guildhall_start_delay_seconds_count 2");
  // The one that was taken back counts from then on.
  expect(lines).not.toContain('guildhall_start_delay_seconds_bucket{le="30"} 0');
  expect(lines).toContainEqual(expect.stringMatching(/^guildhall_worker_running \d+$/));
});

it("a worker that cannot claim, or cannot extend its leases, is counted at each try, and that it works again is seen", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  let broken: string | undefined = "claim";
  const breaking: typeof db = {
    ...db,
    ledger: (statement) =>
      statement.name === broken
        ? Promise.reject(new Error("that function is gone"))
        : db.ledger(statement),
  };
  const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>();
  const { taskId } = await giveTask(database, { stage, tenant });
  const worker = startWorker(stage, {
    db: breaking,
    runtimeFor: () => ({
      async run() {
        await mayEnd;
        return { status: "succeeded", result: "" };
      },
    }),
  });
  const told = async (what: string) => {
    const lines = await figures({ worker: { ...worker, startDelays: createStartDelays() } });
    const line = lines.find((text) =>
      text.startsWith(`guildhall_worker_failures_total{what="${what}"}`),
    );
    return Number(line?.split(" ").at(-1));
  };
  await expect.poll(() => told("claim"), { timeout: 20_000 }).toBeGreaterThan(1);
  expect(worker.failures.claim.lasting).toBe(true);
  expect(await told("lease")).toBe(0);
  broken = undefined;
  await taskReaches(database, taskId, "running");
  await expect.poll(() => worker.failures.claim.lasting, { timeout: 20_000 }).toBe(false);
  broken = "heartbeat";
  await expect.poll(() => told("lease"), { timeout: 20_000 }).toBeGreaterThan(1);
  broken = undefined;
  await expect.poll(() => worker.failures.lease.lasting, { timeout: 20_000 }).toBe(false);
  end();
  await taskReaches(database, taskId, "succeeded");
  expect(await told("claim")).toBeGreaterThan(1);
});

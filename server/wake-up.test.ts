import { afterAll, describe, expect, it } from "vitest";
import { createLogger } from "./platform/log.ts";
import { relayOutbox } from "./platform/outbox.ts";
import { listDeadWakes } from "./platform/transport/dead-wakes.ts";
import { noCounts, type Transport, type WakeListener } from "./platform/transport/transport.ts";
import { Secret } from "./platform/secret.ts";
import type { RunContext, Runtime } from "./runtimes/runtime.ts";
import { createTestDatabase } from "./test/database.ts";
import { testPasswordOf } from "./test/postgres.ts";
import { hasRedis, startRedis } from "./test/redis.ts";
import {
  brokenLaws,
  giveTask,
  openStage,
  openWorkspace,
  type Stage,
  startWorker,
  taskReaches,
} from "./test/run-stage.ts";
import { createWakeUp, openTransport } from "./wake-up.ts";

const database = await createTestDatabase();
const { db, admin, ownerUrl } = database;
const log = createLogger({ level: "silent" });
const listenUrl = new URL(ownerUrl);
listenUrl.username = "guildhall_platform";
listenUrl.password = testPasswordOf("guildhall_platform");

const redis = hasRedis ? await startRedis() : undefined;
afterAll(() => redis?.close());

/** No poll comes within a test: what happens, a bell has rung for. */
const NEVER_MS = 600_000;

const endsAtOnce: Runtime = { run: () => Promise.resolve({ status: "succeeded", result: "done" }) };

/** Ends when it is told to, or when its signal aborts. */
function heldRuns() {
  const started: RunContext[] = [];
  const mayEnd = Promise.withResolvers<void>();
  const runtime: Runtime = {
    async run(ctx) {
      started.push(ctx);
      const aborted = Promise.withResolvers<never>();
      ctx.signal.addEventListener("abort", () => aborted.reject(ctx.signal.reason as Error));
      await Promise.race([mayEnd.promise, aborted.promise]);
      return ctx.shouldYield() ? { status: "yielded" } : { status: "succeeded", result: "done" };
    },
  };
  return { runtime, started, letGo: () => mayEnd.resolve() };
}

const transports: readonly ["postgres" | "redis", boolean][] = [
  ["postgres", true],
  ["redis", hasRedis],
];

describe.each(transports.filter(([, here]) => here))("joined by %s", (name) => {
  /** The bell of one process. */
  async function openBell(stage: Stage, onEnded?: (taskId: string) => void) {
    const transport = await openTransport({
      config: { REDIS_URL: name === "redis" ? new Secret(redis!.url) : undefined },
      listenUrl: listenUrl.href,
      db,
      log,
    });
    const wakeUp = createWakeUp({ transport, db, log, ...(onEnded ? { onEnded } : {}) });
    stage.closers.push(() => wakeUp.close());
    await expect.poll(() => transport.isConnected(), { timeout: 10_000 }).toBe(true);
    return wakeUp;
  }

  /** A process that only works. */
  async function workerProcess(
    stage: Stage,
    options: { runtime: Runtime; concurrency?: number; pollMs?: number },
  ) {
    const wakeUp = await openBell(stage);
    const worker = startWorker(stage, {
      runtimeFor: () => options.runtime,
      config: {
        concurrency: options.concurrency ?? 4,
        pollMs: options.pollMs ?? NEVER_MS,
        heartbeatMs: NEVER_MS,
        leaseMs: 2 * NEVER_MS,
        agentTimeSliceMs: NEVER_MS,
      },
      passOn: wakeUp.passOn,
    });
    const serving = wakeUp.serve(worker);
    stage.closers.push(() => serving.stop());
    return { worker, wakeUp, serving };
  }

  it("a task that one process takes on starts in another, with no poll", async () => {
    const stage = await openStage(database);
    const tenant = await openWorkspace(database);
    await workerProcess(stage, { runtime: endsAtOnce });
    const api = await openBell(stage);
    for (let n = 0; n < 5; n++) {
      const { taskId } = await giveTask(database, { stage, tenant });
      api.bell.runReady(taskId);
      await taskReaches(database, taskId, "succeeded");
    }
    // A raised limit names no task.
    const { taskId } = await giveTask(database, { stage, tenant });
    api.bell.runReady();
    await taskReaches(database, taskId, "succeeded");
  });

  it("what the outbox tells reaches the others, too: who wrote it may have died before it rang", async () => {
    const stage = await openStage(database);
    const tenant = await openWorkspace(database);
    await workerProcess(stage, { runtime: endsAtOnce });
    const relay = await openBell(stage);
    const { taskId } = await giveTask(database, { stage, tenant });
    await admin.query(
      `INSERT INTO outbox (workspace_id, topic, payload) VALUES ($1, 'run.ready', jsonb_build_object('task_id', $2::text))`,
      [tenant.workspaceId, taskId],
    );
    await database.settled();
    await relayOutbox(db, (rows) => relay.relayed(rows));
    await taskReaches(database, taskId, "succeeded");
  });

  it("a worker that is full leaves the bell to one that has room", async () => {
    const stage = await openStage(database);
    const tenant = await openWorkspace(database);
    const held = heldRuns();
    const full = await workerProcess(stage, { runtime: held.runtime, concurrency: 1 });
    const first = await giveTask(database, { stage, tenant });
    full.wakeUp.bell.runReady(first.taskId);
    await expect.poll(() => held.started.length, { timeout: 10_000 }).toBe(1);
    const other = await workerProcess(stage, { runtime: endsAtOnce });
    const second = await giveTask(database, { stage, tenant });
    full.wakeUp.bell.runReady(second.taskId);
    await taskReaches(database, second.taskId, "succeeded");
    held.letGo();
    await taskReaches(database, first.taskId, "succeeded");
    expect(other.worker.running()).toBe(0);
  });

  it("a worker that drains hands its run to another at once", async () => {
    const stage = await openStage(database);
    const tenant = await openWorkspace(database);
    const held = heldRuns();
    const leaving = await workerProcess(stage, { runtime: held.runtime });
    const { taskId } = await giveTask(database, { stage, tenant });
    leaving.wakeUp.bell.runReady(taskId);
    await expect.poll(() => held.started.length, { timeout: 10_000 }).toBe(1);
    await workerProcess(stage, { runtime: endsAtOnce });
    const closing = Promise.all([leaving.serving.stop(), leaving.worker.close({ drainMs: 5_000 })]);
    held.letGo();
    await closing;
    await taskReaches(database, taskId, "succeeded");
    expect(await brokenLaws(database)).toEqual([]);
  });

  it("a task that is cancelled in one process stops in another, long before its next heartbeat", async () => {
    const stage = await openStage(database);
    const tenant = await openWorkspace(database);
    const held = heldRuns();
    const { wakeUp } = await workerProcess(stage, { runtime: held.runtime });
    const api = await openBell(stage);
    const { taskId } = await giveTask(database, { stage, tenant });
    wakeUp.bell.runReady(taskId);
    await expect.poll(() => held.started.length, { timeout: 10_000 }).toBe(1);
    await admin.query("SELECT end_task($1, $2, 'cancelled', 'requested', NULL, '{}')", [
      tenant.workspaceId,
      taskId,
    ]);
    api.bell.taskEnded(taskId);
    await expect.poll(() => held.started[0]?.signal.aborted, { timeout: 10_000 }).toBe(true);
  });

  it("a task that ended with its parent, whoever ended that, stops when the outbox tells of it", async () => {
    const stage = await openStage(database);
    const tenant = await openWorkspace(database);
    const held = heldRuns();
    const { wakeUp } = await workerProcess(stage, { runtime: held.runtime });
    const told: string[] = [];
    const relay = await openBell(stage, (taskId) => told.push(taskId));
    const parent = await giveTask(database, { stage, tenant });
    const child = await giveTask(database, { stage, tenant });
    await admin.query("UPDATE tasks SET parent_task_id = $2 WHERE id = $1", [
      child.taskId,
      parent.taskId,
    ]);
    wakeUp.bell.runReady();
    await expect.poll(() => held.started.length, { timeout: 10_000 }).toBe(2);
    await admin.query("SELECT end_task($1, $2, 'failed', 'attempts_exhausted', NULL, '{}')", [
      tenant.workspaceId,
      parent.taskId,
    ]);
    await database.settled();
    await relayOutbox(db, (rows) => relay.relayed(rows));
    const runOf = (taskId: string) => held.started.find(({ run }) => run.taskId === taskId);
    await expect.poll(() => runOf(child.taskId)?.signal.aborted, { timeout: 10_000 }).toBe(true);
    expect(told).toEqual([child.taskId]);
    // Its end is the business of whoever ended it.
    expect(runOf(parent.taskId)?.signal.aborted).toBe(false);
    held.letGo();
  });
});

it("a full worker keeps one ring, however much it is told meanwhile", async () => {
  const heard: WakeListener[] = [];
  const transport: Transport = {
    name: "postgres",
    counts: noCounts(),
    send: () => undefined,
    flushed: () => Promise.resolve(),
    listen(listener) {
      heard.push(listener);
      return { stop: () => Promise.resolve() };
    },
    isConnected: () => true,
    close: () => Promise.resolve(),
  };
  let asked = 0;
  let woken = 0;
  let hasRoom = Promise.withResolvers<void>();
  createWakeUp({ transport, db, log }).serve({
    wake: () => (woken += 1),
    hasRoom: () => false,
    room() {
      asked += 1;
      return hasRoom.promise;
    },
    cancelled: () => undefined,
  });
  const ring = () => heard[0]!.ready({ kind: "run_ready", taskIds: ["task_1"] });
  const told = Array.from({ length: 1_000 }, ring);
  expect([asked, woken]).toEqual([1, 0]);
  hasRoom.resolve();
  await Promise.all(told);
  expect(woken).toBe(1);
  hasRoom = Promise.withResolvers();
  hasRoom.resolve();
  await ring();
  expect([asked, woken]).toEqual([2, 2]);
});

it("an outbox row that fits no schema is put away with its reason, once, and its neighbours are heeded", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const transport = await openTransport({
    config: { REDIS_URL: undefined },
    listenUrl: listenUrl.href,
    db,
    log,
  });
  /** Whether limits were rung, too. */
  const rung: boolean[] = [];
  let limits = false;
  const wakeUp = createWakeUp({ transport, db, log, onLimits: () => (limits = true) });
  stage.closers.push(() => wakeUp.close());
  wakeUp.serve({
    wake: () => void rung.push(limits),
    hasRoom: () => true,
    room: () => Promise.resolve(),
    cancelled: () => {},
  });
  await admin.query("DELETE FROM outbox");
  for (const payload of [{ task_id: 7 }, { task_id: "task_1" }, { of: "another release" }])
    await admin.query(
      "INSERT INTO outbox (workspace_id, topic, payload) VALUES ($1, 'run.ready', $2)",
      [tenant.workspaceId, payload],
    );
  await database.settled();
  expect(await relayOutbox(db, (rows) => wakeUp.relayed(rows))).toBe(3);
  expect(rung).toContain(false);
  const [dead, ...more] = await listDeadWakes(db, 10);
  expect(more).toEqual([]);
  expect(dead).toMatchObject({
    source: "outbox",
    times: 1,
    reason: expect.stringMatching(/string/),
  });
  expect(JSON.parse(dead!.payload)).toEqual({ topic: "run.ready", payload: { task_id: 7 } });
});

describe.skipIf(!hasRedis)("whatever befalls Redis", () => {
  const POLL_MS = 100;

  /** An API and two workers, joined by Redis. */
  async function installation() {
    const stage = await openStage(database);
    const tenant = await openWorkspace(database);
    async function open() {
      const transport = await openTransport({
        config: { REDIS_URL: new Secret(redis!.url) },
        listenUrl: listenUrl.href,
        db,
        log,
      });
      const wakeUp = createWakeUp({ transport, db, log });
      stage.closers.push(() => wakeUp.close());
      return wakeUp;
    }
    for (let n = 0; n < 2; n++) {
      const wakeUp = await open();
      const worker = startWorker(stage, {
        runtimeFor: () => endsAtOnce,
        config: { concurrency: 4, pollMs: POLL_MS },
        passOn: wakeUp.passOn,
      });
      const serving = wakeUp.serve(worker);
      stage.closers.push(() => serving.stop());
    }
    const api = await open();
    const given: string[] = [];
    return {
      api,
      async give(count: number) {
        for (let n = 0; n < count; n++) {
          const { taskId } = await giveTask(database, { stage, tenant });
          given.push(taskId);
          api.bell.runReady(taskId);
        }
      },
      async allEnd() {
        for (const taskId of given) await taskReaches(database, taskId, "succeeded");
        const { rows } = await admin.query<{ epoch: number }>(
          "SELECT DISTINCT epoch FROM runs WHERE task_id = ANY ($1)",
          [given],
        );
        expect(rows).toEqual([{ epoch: 1 }]);
        expect(await brokenLaws(database)).toEqual([]);
      },
    };
  }

  it("it is away when all begin: tasks start by the poll, and when it comes it is used", async () => {
    await redis!.kill();
    const { api, give, allEnd } = await installation();
    await give(10);
    await allEnd();
    expect(api.transport.counts).toMatchObject({ sent: 0 });
    await redis!.start();
    await expect.poll(() => api.transport.isConnected(), { timeout: 10_000 }).toBe(true);
    await give(10);
    await allEnd();
    expect(api.transport.counts.sent).toBeGreaterThan(0);
  });

  it("it is killed and started again in the midst of 200 tasks: all end, each in one attempt", async () => {
    const { give, allEnd } = await installation();
    await give(70);
    await redis!.kill();
    await give(70);
    await redis!.start();
    await give(60);
    await allEnd();
  }, 60_000);

  it("it is emptied again and again: all tasks end", async () => {
    const { give, allEnd } = await installation();
    for (let n = 0; n < 20; n++) {
      await give(3);
      await redis!.client.flushall();
    }
    await allEnd();
  }, 60_000);

  it("it is full: all tasks end, and the bell is back when there is room", async () => {
    const { api, give, allEnd } = await installation();
    await expect.poll(() => api.transport.isConnected(), { timeout: 10_000 }).toBe(true);
    await redis!.client.config("SET", "maxmemory", "1");
    await give(20);
    await allEnd();
    expect(api.transport.counts.dropped).toBeGreaterThan(0);
    await redis!.client.config("SET", "maxmemory", "0");
    const { sent } = api.transport.counts;
    await give(5);
    await allEnd();
    expect(api.transport.counts.sent).toBeGreaterThan(sent);
  });

  it("the tail of its log is lost: old wakes come again and do no harm, and all tasks end", async () => {
    const { api, give, allEnd } = await installation();
    await expect.poll(() => api.transport.isConnected(), { timeout: 10_000 }).toBe(true);
    await give(10);
    await redis!.keepCopy();
    await give(10);
    await redis!.kill();
    await redis!.putBackCopy();
    await redis!.start();
    await give(10);
    await allEnd();
  });
});

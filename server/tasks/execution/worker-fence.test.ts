import { stat } from "node:fs/promises";
import { createServer, connect, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { expect, it, onTestFinished } from "vitest";
import { createDb } from "../../platform/db.ts";
import { createLogger } from "../../platform/log.ts";
import { systemClock } from "../../platform/clock.ts";
import type { RunContext, Runtime } from "../../runtimes/runtime.ts";
import type { ToolStep } from "../../runtimes/step.ts";
import { createTestDatabase } from "../../test/database.ts";
import { testPasswordOf } from "../../test/postgres.ts";
import { createContent } from "../../test/tenant.ts";
import {
  brokenLaws,
  eventsOf,
  eventually,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startJobs,
  startWorker,
  taskReaches,
  taskState,
  workerConfig,
} from "../../test/run-stage.ts";
import { claimRuns, finishRun, releaseRun } from "./run-claims.ts";
import { createRunLease } from "./run-lease.ts";
import { parkRun } from "./run-parking.ts";
import type { FolderState } from "./run-folder-state.ts";
import { createRunRecord } from "./run-record.ts";

const database = await createTestDatabase();
const { db, admin, ownerUrl } = database;
const prompt = "Profile these CSV files and write report.md";
const inputs = { "sales.csv": salesCsv };
const log = createLogger({ level: "silent" });

/** A runtime that does nothing until it is stopped, and hands out its context. */
function idleRuntime(): { runtime: Runtime; contexts: RunContext[] } {
  const contexts: RunContext[] = [];
  const runtime: Runtime = {
    run(ctx) {
      contexts.push(ctx);
      return new Promise((_resolve, reject) => {
        ctx.signal.addEventListener("abort", () => reject(ctx.signal.reason as Error));
      });
    },
  };
  return { runtime, contexts };
}

async function writtenSince(runId: string): Promise<unknown> {
  const { rows } = await admin.query(
    `SELECT (SELECT count(*) FROM steps WHERE run_id = $1)::int AS steps, (SELECT count(*) FROM artifacts WHERE run_id = $1)::int AS artifacts,
       (SELECT last_seq FROM streams s JOIN runs r ON r.task_id = s.id WHERE r.id = $1)::int AS last_seq`,
    [runId],
  );
  return rows[0];
}

function toolStep(stepNo: number): ToolStep {
  return {
    kind: "tool",
    stepNo,
    state: "done",
    body: { tool_use_id: `t${stepNo}`, name: "x", input: {}, content: "", is_error: false },
  };
}

/** An attempt that does nothing, of a worker that does not hear in time when its run is taken away. */
async function openDeafAttempt() {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { runId } = await giveTask(database, { stage, tenant, prompt, inputs });
  const { runtime, contexts } = idleRuntime();
  startWorker(stage, {
    runtimeFor: () => runtime,
    config: { heartbeatMs: 60_000, leaseMs: 120_000 },
  });
  await eventually(() => expect(contexts).toHaveLength(1));
  return { stage, tenant, runId, stale: contexts[0]! };
}

it("a tool of a lost attempt that writes late, on the same disk, is not seen by the attempt that goes on, nor recorded", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt, inputs });
  const { promise: isLate, resolve: wakeUp } = Promise.withResolvers<void>();
  const { promise: hasWritten, resolve: wrote } = Promise.withResolvers<void>();
  const stale: Runtime = {
    async run({ folder, record, signal }) {
      await folder.writeText("report.md", "begun");
      await record.saveStep({ step: toolStep(1), events: [] });
      // As a process that was stopped, or a tool that does not heed its signal.
      await isLate;
      await folder.writeText("report.md", "stale");
      await folder.writeText("late.md", "late");
      wrote();
      signal.throwIfAborted();
      return { status: "succeeded", result: "stale" };
    },
  };
  const next: Runtime = {
    async run({ folder, record }) {
      wakeUp();
      await hasWritten;
      await record.saveStep({ step: toolStep(2), events: [] });
      const { entries } = await folder.list();
      const paths = entries.filter(({ type }) => type === "file").map(({ path }) => path);
      return {
        status: "succeeded",
        result: `${paths.join(" ")}: ${await folder.readText("report.md")}`,
      };
    },
  };
  const first = startWorker(stage, {
    runtimeFor: () => stale,
    // It has no room for the next attempt.
    config: { leaseMs: 120_000, heartbeatMs: 60_000, concurrency: 1 },
  });
  const stepsOf = async () =>
    (await admin.query("SELECT 1 FROM steps WHERE run_id = $1", [runId])).rowCount;
  await eventually(async () => expect(await stepsOf()).toBe(1));
  await admin.query("UPDATE runs SET lease_until = clock_now() WHERE id = $1", [runId]);
  startJobs(stage);
  startWorker(stage, { runtimeFor: () => next });
  expect(await taskReaches(database, taskId, "succeeded", "failed")).toMatchObject({
    state: "succeeded",
    result: "input/sales.csv report.md: begun",
  });
  const recorded = await admin.query<{ path: string; size: number }>(
    "SELECT path, size_bytes::int AS size FROM run_files WHERE run_id = $1 ORDER BY path",
    [runId],
  );
  expect(recorded.rows).toEqual([{ path: "report.md", size: "begun".length }]);
  await eventually(() => expect(first.running()).toBe(0));
  await eventually(() =>
    expect(stat(join(stage.dataDir, "runs", tenant.workspaceId, runId))).rejects.toThrow("ENOENT"),
  );
  expect(await brokenLaws(database)).toEqual([]);
});

it("an attempt whose run was given to another one can write nothing: no step, no event, no artifact, no end", async () => {
  const { stage, tenant, runId, stale } = await openDeafAttempt();
  await stale.folder.writeText("late.md", "late");

  // The database takes the run away; this worker has not heard of it.
  await admin.query("UPDATE runs SET epoch = epoch + 1 WHERE id = $1", [runId]);
  const before = await writtenSince(runId);
  const step = {
    kind: "tool",
    stepNo: 1,
    state: "started",
    body: { tool_use_id: "a", name: "x", input: {} },
  } as const;
  await expect(
    stale.record.saveStep({ step, events: [], wrote: { path: "late.md", sizeBytes: 4 } }),
  ).rejects.toMatchObject({ stop: { kind: "lost" } });
  expect(stale.signal.aborted).toBe(true);
  stale.record.emitText(1, "late");
  const claim = {
    ...tenant,
    runId,
    taskId: stale.run.taskId,
    epoch: 1,
    token: stale.gateway.token,
  };
  expect(await finishRun(db, claim, { state: "succeeded", result: "late" })).toBe(false);
  const reason = { kind: "question", question_id: "q", question: "?" } as const;
  expect(await parkRun(db, claim, { state: "waiting", reason })).toBe(false);
  expect(await releaseRun(db, claim, "late")).toBe(false);
  expect(await writtenSince(runId)).toEqual(before);

  // Nor can it spend.
  const answer = await fetch(`${stage.gatewayUrl}/v1/messages`, {
    method: "POST",
    headers: {
      "x-api-key": stale.gateway.token.reveal(),
      "anthropic-version": "2023-06-01",
      "content-type": "application/json",
    },
    body: JSON.stringify({
      model: "claude-sonnet-5-5",
      max_tokens: 16,
      messages: [{ role: "user", content: "hi" }],
    }),
  });
  expect(answer.status).toBe(401);
  expect(stage.simulator.meter.report().totals.calls).toBe(0);
});

it("an attempt that repeats a step, for its answer was lost, does not take a later attempt's artifact back", async () => {
  const { tenant, runId, stale } = await openDeafAttempt();
  const wrote = await stale.folder.writeText("report.md", "old");
  const step = toolStep(1);
  await stale.record.saveStep({ step, events: [], wrote });
  const later = await createContent(admin, tenant, 3);
  await admin.query("UPDATE runs SET epoch = epoch + 1 WHERE id = $1", [runId]);
  await admin.query("UPDATE artifacts SET sha256 = $2 WHERE run_id = $1", [runId, later]);
  await expect(stale.record.saveStep({ step, events: [], wrote })).rejects.toMatchObject({
    stop: { kind: "lost" },
  });
  const { rows } = await admin.query("SELECT sha256 FROM artifacts WHERE run_id = $1", [runId]);
  expect(rows).toEqual([{ sha256: later }]);
});

it("a process that is stopped in the middle of a cancel costs no other run its lease", async () => {
  const stage = await openStage(database);
  const [stuck, other] = [await openWorkspace(database), await openWorkspace(database)];
  const { taskId } = await giveTask(database, { stage, tenant: stuck, prompt });
  await giveTask(database, { stage, tenant: other, prompt });
  const { runtime, contexts } = idleRuntime();
  // The defaults of the product: what is stopped must let go of its locks well within a lease.
  startWorker(stage, {
    runtimeFor: () => runtime,
    config: { leaseMs: 8_000, heartbeatMs: 2_000 },
  });
  await eventually(() => expect(contexts).toHaveLength(2));
  const url = new URL(ownerUrl);
  url.username = "guildhall_app";
  url.password = testPasswordOf("guildhall_app");
  const stopped = new pg.Client({ connectionString: url.href });
  const letGo = new Promise((resolve) => stopped.once("end", resolve));
  stopped.on("error", () => undefined);
  await stopped.connect();
  await stopped.query(`BEGIN; SET LOCAL app.workspace_id = '${stuck.workspaceId}'`);
  await stopped.query(
    "SELECT end_task(current_workspace(), $1, 'cancelled', 'requested', NULL, '{}')",
    [taskId],
  );
  await letGo;
  // Long enough for its lease to end, had it not been extended since.
  await delay(6_000);
  const ofOther = contexts.filter((ctx) => ctx.run.workspaceId === other.workspaceId);
  expect(ofOther.map((ctx) => ctx.signal.aborted)).toEqual([false]);
});

it("one run is claimed once, however many workers ask at the same time", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const given: string[] = [];
  for (let n = 0; n < 6; n++)
    given.push((await giveTask(database, { stage, tenant, prompt })).runId);
  const claims = (
    await Promise.all(
      Array.from({ length: 8 }, (_, n) =>
        claimRuns(db, { workerId: `wrk_${n}`, leaseMs: 60_000, atMost: 4 }),
      ),
    )
  ).flat();
  const again = await claimRuns(db, { workerId: "wrk_last", leaseMs: 60_000, atMost: 10 });
  const own = [...claims, ...again].filter((claim) => claim.workspaceId === tenant.workspaceId);
  expect(own.map((claim) => claim.runId).toSorted()).toEqual(given.toSorted());
});

it("a cancel in the middle of a model call stops the run at once: nothing follows its event, and the hold settles", async () => {
  const stage = await openStage(database, { latency: { firstByteMs: 50, perEventMs: 20 } });
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt, inputs });
  const worker = startWorker(stage);
  await eventually(async () => {
    const types = (await eventsOf(database, taskId)).map((event) => event.type);
    expect(types).toContain("model.text");
  });
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: "SELECT end_task($1, $2, 'cancelled', NULL, NULL, '{\"by\":\"user\"}')",
      values: [tenant.workspaceId, taskId],
    }),
  );
  const cancelled = await eventsOf(database, taskId);
  worker.cancelled(taskId);
  await eventually(() => expect(worker.running()).toBe(0));
  await eventually(async () => {
    const { rows } = await admin.query<{ state: string }>(
      "SELECT DISTINCT state FROM holds WHERE run_id = $1",
      [runId],
    );
    expect(rows).toEqual([{ state: "SETTLED" }]);
  });
  const after = await eventsOf(database, taskId);
  expect(after).toEqual(cancelled);
  expect(after.at(-1)?.type).toBe("task.cancelled");
  const { rows } = await admin.query(
    "SELECT held FROM budgets WHERE held <> 0 AND workspace_id = $1",
    [tenant.workspaceId],
  );
  expect(rows).toEqual([]);
  // The first test has faked a twin; its run is not what this one is about.
  expect(
    (await brokenLaws(database)).filter((broken) => JSON.stringify(broken).includes(runId)),
  ).toEqual([]);
});

it("a worker that nobody told of a cancel stops at its next heartbeat", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId } = await giveTask(database, { stage, tenant, prompt });
  const { runtime, contexts } = idleRuntime();
  const worker = startWorker(stage, { runtimeFor: () => runtime });
  await eventually(() => expect(contexts).toHaveLength(1));
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: "SELECT end_task($1, $2, 'cancelled', NULL, NULL, '{}')",
      values: [tenant.workspaceId, taskId],
    }),
  );
  await eventually(() => expect(worker.running()).toBe(0));
  expect(contexts[0]!.signal.aborted).toBe(true);
});

/** A way to the database that can be frozen: connections stay open, and no byte passes. */
async function openFreezableWay(target: URL) {
  const sockets = new Set<Socket>();
  let frozen = false;
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
    }
    if (!frozen) near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    freeze() {
      frozen = true;
      for (const socket of sockets) socket.unpipe().pause();
    },
  };
}

it("a worker that cannot reach the database stops its runs by its own deadline, before anybody else may have them", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { runId, taskId } = await giveTask(database, { stage, tenant, prompt, inputs });
  const url = new URL(ownerUrl);
  const way = await openFreezableWay(url);
  const cutOff = createDb({
    address: { host: "127.0.0.1", port: way.port, database: url.pathname.slice(1) },
    passwordOf: testPasswordOf,
    log,
  });
  const { runtime, contexts } = idleRuntime();
  const worker = startWorker(
    { ...stage, db: cutOff },
    { runtimeFor: () => runtime, config: { leaseMs: 2_000 } },
  );
  stage.closers.push(() =>
    Promise.resolve(worker.close({ drainMs: 0 })).then(() => cutOff.close()),
  );
  await eventually(() => expect(contexts).toHaveLength(1));
  way.freeze();
  const stillLeased = new Promise<boolean>((resolve, reject) => {
    contexts[0]!.signal.addEventListener("abort", () => {
      admin
        .query(
          "SELECT 1 FROM runs WHERE id = $1 AND state = 'claimed' AND lease_until > clock_now() - interval '100 milliseconds'",
          [runId],
        )
        .then(({ rowCount }) => resolve(rowCount === 1), reject);
    });
  });
  expect(await stillLeased).toBe(true);

  startJobs(stage);
  startWorker(stage);
  await taskReaches(database, taskId, "succeeded");
});

it("a process that was frozen past its lease refuses by itself to write", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  await giveTask(database, { stage, tenant, prompt });
  let nowMs = 1_000;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const [claim] = await claimRuns(db, { workerId: "wrk_frozen", leaseMs: 60_000, atMost: 1 });
  const lease = createRunLease({ clock, leaseMs: workerConfig.leaseMs, sentAtMs: nowMs });
  onTestFinished(() => lease.close());
  const state = {} as FolderState;
  const record = createRunRecord({ ...stage, state, claim: claim!, lease, log });
  nowMs += workerConfig.leaseMs;
  const step = {
    kind: "tool",
    stepNo: 1,
    state: "started",
    body: { tool_use_id: "a", name: "x", input: {} },
  } as const;
  await expect(record.saveStep({ step, events: [] })).rejects.toMatchObject({
    stop: { kind: "lost" },
  });
  expect(await writtenSince(claim!.runId)).toMatchObject({ steps: 0 });
});

it("a step whose stored answer was lost may be stored again, and nothing doubles", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt });
  const { runtime, contexts } = idleRuntime();
  startWorker(stage, { runtimeFor: () => runtime });
  await eventually(() => expect(contexts).toHaveLength(1));
  const { record } = contexts[0]!;
  const step = {
    kind: "tool",
    stepNo: 1,
    state: "started",
    body: { tool_use_id: "a", name: "x", input: {} },
  } as const;
  const events = [
    { type: "tool.started", data: { step: 1, tool_use_id: "a", name: "x", input: {} } },
  ] as const;
  await record.saveStep({ step, events });
  const before = await writtenSince(runId);
  await record.saveStep({ step, events });
  expect(await writtenSince(runId)).toEqual(before);
  const done = { ...step, state: "done", body: { ...step.body, content: "ok" } } as const;
  await record.saveStep({ step: done, events: [] });
  await expect(record.saveStep({ step, events: [] })).rejects.toMatchObject({ code: "GH004" });
  expect((await taskState(database, taskId)).state).toBe("running");
});

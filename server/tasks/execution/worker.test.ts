import { mkdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, it } from "vitest";
import type { Db } from "../../platform/db.ts";
import type { Runtime } from "../../runtimes/runtime.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  brokenLaws,
  eventsOf,
  eventually,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startWorker,
  taskReaches,
} from "../../test/run-stage.ts";
import { runFolderPath } from "./run-folder-setup.ts";

const database = await createTestDatabase();
const { admin } = database;

it("a task over files runs to its end: real figures in the report, artifacts kept, events dense and valid", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, {
    stage,
    tenant,
    prompt: "Profile these CSV files and write report.md",
    inputs: { "sales.csv": salesCsv },
  });
  startWorker(stage);
  const task = await taskReaches(database, taskId, "succeeded", "failed");
  expect(task).toMatchObject({ state: "succeeded", cause: null });
  expect(task.result).toContain("5 rows");

  const events = await eventsOf(database, taskId);
  expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1));
  expect(events.at(-1)?.type).toBe("task.succeeded");
  const types = new Set(events.map((event) => event.type));
  for (const type of [
    "run.claimed",
    "model.started",
    "model.text",
    "model.completed",
    "tool.started",
    "tool.completed",
    "artifact.written",
  ])
    expect(types).toContain(type);

  const artifacts = await admin.query<{ path: string; sha256: string }>(
    "SELECT path, sha256 FROM artifacts WHERE run_id = $1",
    [runId],
  );
  expect(artifacts.rows.map((row) => row.path)).toContain("report.md");
  expect(await brokenLaws(database)).toEqual([]);
});

it("the five agents go about the same task with different tools and in another order, and all deliver", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  startWorker(stage);
  const ways = new Map<string, string>();
  for (const agentId of ["marcus", "sable", "devonte", "yuki", "gray"]) {
    const { taskId } = await giveTask(database, {
      stage,
      tenant,
      agentId,
      prompt: "Profile these CSV files and write report.md",
      inputs: { "sales.csv": salesCsv, "notes.md": "# Notes\n\nTODO: check region west.\n" },
    });
    const { state } = await taskReaches(database, taskId, "succeeded", "failed");
    expect({ agentId, state }).toEqual({ agentId, state: "succeeded" });
    const events = await eventsOf(database, taskId);
    const calls = events.flatMap((event) =>
      event.type === "tool.started" ? [event.data.name] : [],
    );
    ways.set(agentId, calls.join(" "));
    const written = events.flatMap((event) =>
      event.type === "artifact.written" ? [event.data.path] : [],
    );
    expect({ agentId, written }).toMatchObject({
      written: expect.arrayContaining(["report.md"]) as string[],
    });
  }
  expect(new Set(ways.values()).size).toBe(5);
});

it("a run's folder is gone once the run is over, and what it wrote is in the file store", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { workspaceId } = tenant;
  const { taskId, runId } = await giveTask(database, {
    stage,
    tenant,
    prompt: "Profile these CSV files and write report.md",
    inputs: { "sales.csv": salesCsv },
  });
  startWorker(stage);
  await taskReaches(database, taskId, "succeeded");
  await eventually(async () => {
    await expect(stat(join(stage.dataDir, "runs", workspaceId, runId))).rejects.toThrow("ENOENT");
  });
  const { rows } = await admin.query<{ sha256: string; size: number }>(
    "SELECT sha256, size_bytes::int AS size FROM artifacts WHERE task_id = $1 AND path = 'report.md'",
    [taskId],
  );
  const [report] = rows;
  const written = await text(await stage.files.open({ workspaceId, sha256: report!.sha256 }));
  expect(Buffer.byteLength(written)).toBe(report!.size);
  expect(written).toContain("sales.csv");
});

const question = { kind: "question", question_id: "q", question: "?" } as const;
const parks: Runtime = {
  run: () => Promise.resolve({ status: "parked", state: "waiting", reason: question }),
};

it("what a worker that died left of a run that ended on another machine is swept up without a restart", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt: "x" });
  startWorker(stage, { runtimeFor: () => parks });
  await taskReaches(database, taskId, "waiting");
  await admin.query(
    "SELECT end_task(workspace_id, id, 'succeeded', NULL, '', '{}') FROM tasks WHERE id = $1",
    [taskId],
  );
  const left = runFolderPath(stage.dataDir, { workspaceId: tenant.workspaceId, runId, epoch: 1 });
  await mkdir(join(left, "work"), { recursive: true });
  startWorker(stage, { runtimeFor: () => parks, config: { sweepMs: 50 } });
  await eventually(() => expect(stat(dirname(left))).rejects.toThrow("ENOENT"));
});

it("of a run that goes on, the folders of earlier attempts are swept up, and that of the living one stays", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt: "x" });
  const pathOf = (epoch: number) =>
    runFolderPath(stage.dataDir, { workspaceId: tenant.workspaceId, runId, epoch });
  const { promise: swept, resolve: goOn } = Promise.withResolvers<void>();
  const runtime: Runtime = {
    async run(ctx) {
      if (ctx.run.attempt === 1) return parks.run(ctx);
      await ctx.folder.writeText("mine.md", "mine");
      await swept;
      return { status: "succeeded", result: await ctx.folder.readText("mine.md") };
    },
  };
  startWorker(stage, { runtimeFor: () => runtime, config: { sweepMs: 50 } });
  await taskReaches(database, taskId, "waiting");
  // The run has no attempt now, so no folder is anybody's.
  await mkdir(join(pathOf(1), "left"), { recursive: true });
  await eventually(() => expect(stat(dirname(pathOf(1)))).rejects.toThrow("ENOENT"));

  await admin.query("SELECT wake_run(workspace_id, task_id) FROM runs WHERE id = $1", [runId]);
  await eventually(() => stat(join(pathOf(2), "mine.md")));
  await mkdir(join(pathOf(1), "left"), { recursive: true });
  await eventually(() => expect(stat(pathOf(1))).rejects.toThrow("ENOENT"));
  goOn();
  expect(await taskReaches(database, taskId, "succeeded", "failed")).toMatchObject({
    state: "succeeded",
    result: "mine",
  });
});

it("an input that is missing from the file store fails its own task, and nobody else's", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { workspaceId } = tenant;
  const prompt = "Profile these CSV files and write report.md";
  const broken = await giveTask(database, {
    stage,
    tenant,
    prompt,
    inputs: { "gone.csv": "a\n1\n" },
  });
  await rm(join(stage.dataDir, "files", workspaceId), { recursive: true });
  const whole = await giveTask(database, {
    stage,
    tenant,
    prompt,
    inputs: { "sales.csv": salesCsv },
  });
  startWorker(stage);
  const task = await taskReaches(database, broken.taskId, "failed", "succeeded");
  expect(task.state).toBe("failed");
  await taskReaches(database, whole.taskId, "succeeded");
});

it("a run whose agent is done makes room before its end is written, but no more are written at once than may be executed", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { promise: written, resolve: write } = Promise.withResolvers<void>();
  const slow: Db = {
    ...database.db,
    async ledger(statement) {
      if (statement.name === "finish_runs") await written;
      return database.db.ledger<never>(statement);
    },
  };
  const taskIds: string[] = [];
  while (taskIds.length < 5)
    taskIds.push((await giveTask(database, { stage, tenant, prompt: "Nothing" })).taskId);
  const worker = startWorker(stage, {
    db: slow,
    config: { concurrency: 2 },
    runtimeFor: () => ({ run: () => Promise.resolve({ status: "succeeded", result: "" }) }),
  });
  await expect.poll(() => worker.running()).toBe(4);
  expect(worker.hasRoom()).toBe(false);
  write();
  for (const taskId of taskIds) await taskReaches(database, taskId, "succeeded");
  expect(await brokenLaws(database)).toEqual([]);
});

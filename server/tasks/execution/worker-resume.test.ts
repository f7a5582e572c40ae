import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import type { FileStore } from "../../platform/file-store/file-store.ts";
import { createLocalFileStore, fileStoreOver } from "../../platform/file-store/open-file-store.ts";
import { startS3 } from "../../platform/file-store/s3-fixture.ts";
import { createS3Objects } from "../../platform/file-store/s3-objects.ts";
import { createLogger } from "../../platform/log.ts";
import type { Runtime } from "../../runtimes/runtime.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  brokenLaws,
  eventually,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startJobs,
  startWorker,
  taskReaches,
  workerConfig,
  type Stage,
} from "../../test/run-stage.ts";
import { listAndNote } from "../../test/worker-process.ts";
import { writeFile } from "../../tools/builtin/write-file.ts";
import type { SealedTool } from "../../tools/tools.ts";
import { runFolderPath } from "./run-folder-setup.ts";

const database = await createTestDatabase();
const { db, admin, ownerUrl } = database;
const log = createLogger({ level: "silent" });

/** A data folder of another machine. */
async function otherDataDir(): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), "guildhall-other-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  return dataDir;
}

/** The contents that all machines reach, and how a process is told of them. */
type Store = { files: FileStore; settings: object };

async function openFolder(): Promise<Store> {
  const folder = await otherDataDir();
  return {
    files: createLocalFileStore({ db, log, filesFolder: folder }),
    settings: { folder },
  };
}

async function openBucket(): Promise<Store> {
  const { settings, close } = await startS3();
  onTestFinished(close);
  const filesFolder = await otherDataDir();
  return {
    files: fileStoreOver(await createS3Objects(settings), { db, log, filesFolder }),
    settings: { ...settings, secret: settings.secret?.reveal() },
  };
}

/** A worker of its own process and data folder executes until it dies in the middle of `write_file`. */
async function workUntilDeath(stage: Stage, dataDir: string, store: Store): Promise<void> {
  const child = spawn(
    process.execPath,
    [
      join(import.meta.dirname, "../../test/worker-process.ts"),
      JSON.stringify({
        dataDir,
        gatewayUrl: stage.gatewayUrl,
        databaseUrl: ownerUrl,
        sentPath: join(dataDir, "sent.txt"),
        files: store.settings,
        diesWriting: true,
        config: workerConfig,
      }),
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  const [, signal] = (await once(child, "exit")) as [null, string];
  expect(signal).toBe("SIGKILL");
  await admin.query("UPDATE runs SET lease_until = clock_now() WHERE state = 'claimed'");
}

/** `write_file` that first looks around. */
function createLookingWriter(dataDir: string) {
  const seen: { entries: object[]; notes: string; programMode: number }[] = [];
  const tool: SealedTool = {
    ...writeFile,
    async call(input, ctx) {
      const { rows } = await admin.query<{ workspace_id: string; id: string; epoch: number }>(
        "SELECT workspace_id, id, epoch FROM runs WHERE id = $1",
        [ctx.idempotencyKey.split("/")[0]],
      );
      const { workspace_id: workspaceId, id: runId, epoch } = rows[0]!;
      const root = runFolderPath(dataDir, { workspaceId, runId, epoch });
      seen.push({
        entries: (await ctx.folder.list()).entries,
        notes: await ctx.folder.readText("work/notes.txt"),
        programMode: (await stat(join(root, "work/run.sh"))).mode & 0o777,
      });
      await expect(stat(join(root, "work/link"))).rejects.toThrow("ENOENT");
      return writeFile.call(input, ctx);
    },
  };
  return { tool, seen };
}

it.each([
  ["another machine, by a shared folder", openFolder, otherDataDir],
  ["another machine, by a bucket", openBucket, otherDataDir],
  ["the same machine, whose folder has what the dead one left", openFolder, undefined],
])(
  "a run whose worker is killed in the middle of writing finds on %s exactly the files of its last stored step",
  async (_where, openStore, makeDataDir) => {
    const store = await openStore();
    const opened = await openStage(database);
    const stage = { ...opened, files: store.files };
    const tenant = await openWorkspace(database);
    const { taskId, runId } = await giveTask(database, {
      stage,
      tenant,
      prompt: "Profile these CSV files and write report.md",
      inputs: { "sales.csv": salesCsv },
    });
    const first = await otherDataDir();
    await workUntilDeath(stage, first, store);

    const dataDir = makeDataDir === undefined ? first : await makeDataDir();
    const { tool, seen } = createLookingWriter(dataDir);
    startJobs(stage);
    startWorker(stage, { dataDir, extraTools: [listAndNote, tool] });
    expect(await taskReaches(database, taskId, "succeeded", "failed")).toMatchObject({
      state: "succeeded",
    });
    expect(seen).toEqual([
      {
        entries: [
          { path: "input", type: "folder", sizeBytes: 0 },
          { path: "input/sales.csv", type: "file", sizeBytes: Buffer.byteLength(salesCsv) },
          { path: "work", type: "folder", sizeBytes: 0 },
          { path: "work/notes.txt", type: "file", sizeBytes: 20 },
          { path: "work/run.sh", type: "file", sizeBytes: 10 },
        ],
        notes: "notes about the list",
        programMode: 0o755,
      },
    ]);
    // Nor is anything left of the dead one.
    await eventually(() =>
      expect(stat(join(dataDir, "runs", tenant.workspaceId, runId))).rejects.toThrow("ENOENT"),
    );
    expect(await brokenLaws(database)).toEqual([]);
  },
);

it("a run that was parked leaves nothing on the disk, and finds its files when it goes on there", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, {
    stage,
    tenant,
    prompt: "x",
    inputs: { "sales.csv": salesCsv },
  });
  const runtime: Runtime = {
    async run({ run, folder, record }) {
      if (run.attempt > 1) {
        const texts = ["input/sales.csv", "work/notes.md"].map((path) => folder.readText(path));
        return { status: "succeeded", result: (await Promise.all(texts)).join("") };
      }
      await folder.writeText("work/notes.md", "noted");
      const body = { tool_use_id: "t", name: "x", input: {}, content: "", is_error: false };
      await record.saveStep({ step: { kind: "tool", stepNo: 1, state: "done", body }, events: [] });
      const reason = { kind: "question", question_id: "q", question: "?" } as const;
      return { status: "parked", state: "waiting", reason };
    },
  };
  startWorker(stage, { runtimeFor: () => runtime });
  await taskReaches(database, taskId, "waiting");
  await eventually(() =>
    expect(stat(join(stage.dataDir, "runs", tenant.workspaceId, runId))).rejects.toThrow("ENOENT"),
  );
  await admin.query("SELECT wake_run(workspace_id, task_id) FROM runs WHERE id = $1", [runId]);
  expect(await taskReaches(database, taskId, "succeeded", "failed")).toMatchObject({
    state: "succeeded",
    result: `${salesCsv}noted`,
  });
});

it("a write beyond the workspace's quota is an error that the agent reads, and leaves folder and task as they were", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { workspaceId } = tenant;
  const { taskId, runId } = await giveTask(database, {
    stage,
    tenant,
    prompt: "Profile these CSV files and write report.md",
    inputs: { "sales.csv": salesCsv },
  });
  // Room for the notes and the program, not for a report.
  await admin.query(
    `INSERT INTO storage_agreements (workspace_id, version, is_own, quota_bytes, changed_by)
     SELECT workspace_id, 1, true, used_bytes + 50, 'test' FROM workspace_storage WHERE workspace_id = $1`,
    [workspaceId],
  );
  startWorker(stage, { extraTools: [listAndNote] });
  expect(await taskReaches(database, taskId, "succeeded", "failed")).toMatchObject({
    state: "succeeded",
  });
  const steps = await admin.query<{ body: { is_error: boolean; content: string } }>(
    "SELECT body FROM steps WHERE run_id = $1 AND body->>'name' = 'write_file' ORDER BY step_no",
    [runId],
  );
  expect(steps.rows[0]?.body).toMatchObject({
    is_error: true,
    content: expect.stringMatching(
      /^What write_file wrote was not kept, and the folder is as it was before the call\. The workspace may store \d+ bytes; 20 bytes of that are free/,
    ),
  });
  const artifacts = await admin.query("SELECT 1 FROM artifacts WHERE task_id = $1", [taskId]);
  expect(artifacts.rowCount).toBe(0);
  const files = await admin.query("SELECT path FROM run_files WHERE run_id = $1 ORDER BY path", [
    runId,
  ]);
  expect(files.rows).toEqual([{ path: "work/notes.txt" }, { path: "work/run.sh" }]);
  expect(await brokenLaws(database)).toEqual([]);
});

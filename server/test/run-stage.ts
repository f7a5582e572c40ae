import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { eventSchema, type Event } from "@guildhall/sdk/contract/event.ts";
import type { FaultPlan } from "../../simulator/delivery/faults.ts";
import { createSimulator } from "../../simulator/simulator.ts";
import { onTestFinished, vi } from "vitest";
import { seedAgents } from "../agents/agents.ts";
import { createGateway } from "../gateway/gateway.ts";
import { createLedger } from "../ledger/ledger.ts";
import { systemClock } from "../platform/clock.ts";
import { createLocalFileStore } from "../platform/file-store/open-file-store.ts";
import { newId } from "../platform/ids.ts";
import { createJobFailures } from "../platform/job-failures.ts";
import { createLogger } from "../platform/log.ts";
import { Secret } from "../platform/secret.ts";
import { verify } from "../operator/verify.ts";
import { createNativeRuntime } from "../runtimes/native/native.ts";
import type { TestDatabase } from "./database.ts";
import {
  createQueuedRun,
  createTenant,
  type TaskOptions,
  type TenantOptions,
  type Tenant,
} from "./tenant.ts";
import { createBuiltInTools } from "../tools/built-in-tools.ts";
import { createToolRegistry, type SealedTool } from "../tools/tools.ts";
import { createRunJobs } from "../tasks/execution/jobs.ts";
import type { WorkerConfig, WorkerDeps } from "../tasks/execution/worker-runs.ts";
import { createWorker, type Worker } from "../tasks/execution/worker.ts";

const log = createLogger({ level: process.env["TEST_LOG_LEVEL"] ?? "silent" });

/** Leases are far longer than a busy machine delays a heartbeat: a test that is about their end shortens them. */
export const workerConfig: WorkerConfig = {
  concurrency: 8,
  leaseMs: 30_000,
  heartbeatMs: 300,
  pollMs: 50,
  agentTimeSliceMs: 15_000,
};

export type StageOptions = {
  faults?: FaultPlan;
  latency?: { firstByteMs: number; perEventMs: number };
  /** How long the gateway waits for open holds; milliseconds. */
  budgetWaitMs?: number;
};

/** The provider, the gateway and the places on disk that workers share. Gone after the test. */
export async function openStage({ db }: Pick<TestDatabase, "db">, options: StageOptions = {}) {
  const simulator = createSimulator({
    latency: options.latency ?? { firstByteMs: 0, perEventMs: 0 },
    ...(options.faults === undefined ? {} : { faults: options.faults }),
  });
  const { url: providerUrl } = await simulator.listen();
  const dataDir = await mkdtemp(join(tmpdir(), "guildhall-run-"));
  const processId = newId("wrk");
  const ledger = createLedger({ db, processId });
  const gateway = createGateway({
    ledger,
    upstream: { baseUrl: providerUrl, apiKey: new Secret("key of a test") },
    journalKey: "a key of a test, thirty-two bytes",
    log,
    processId,
    limits: {
      callTimeoutMs: 30_000,
      idleTimeoutMs: 10_000,
      budgetWaitMs: options.budgetWaitMs ?? 200,
    },
  });
  const { url: gatewayUrl } = await gateway.listen({ port: 0, host: "127.0.0.1" });
  const files = createLocalFileStore({ db, log, filesFolder: join(dataDir, "files") });
  const closers: (() => Promise<void>)[] = [];
  onTestFinished(async () => {
    for (const close of closers.toReversed()) await close();
    await gateway.close({ drainMs: 2_000 });
    await simulator.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  return { db, simulator, gateway, gatewayUrl, dataDir, files, ledger, closers };
}
export type Stage = Awaited<ReturnType<typeof openStage>>;

/** A started worker of the stage, closed after the test. */
export function startWorker(
  stage: Stage,
  options: Partial<Omit<WorkerDeps, "config">> & {
    config?: Partial<WorkerConfig>;
    /** Instead of the built-in tools of the same names, or beside them. */
    extraTools?: readonly SealedTool[];
    passOn?: () => void;
  } = {},
): Worker {
  const { config, extraTools = [], ...deps } = options;
  const replaced = new Set(extraTools.map((tool) => tool.name));
  const builtIn = createBuiltInTools({ scratchFolder: join(stage.dataDir, "scratch") });
  const tools = createToolRegistry(
    [...builtIn.filter((tool) => !replaced.has(tool.name)), ...extraTools],
    { onUnexpected: ({ tool, error }) => log.error({ err: error, tool }, "a tool broke") },
  );
  const native = createNativeRuntime({ retryDelaysMs: [20, 40, 80] });
  const worker = createWorker({
    ...stage,
    runtimeFor: () => native,
    tools,
    clock: systemClock,
    log,
    ...deps,
    config: { ...workerConfig, ...config },
  });
  worker.start();
  stage.closers.push(() => worker.close({ drainMs: 0 }));
  return worker;
}

/** The jobs that keep runs moving, at a pace for tests. */
export function startJobs(
  stage: Stage,
  options: { graceMs?: number; onReady?: () => void } = {},
): void {
  const jobs = createRunJobs({
    db: stage.db,
    config: { graceMs: options.graceMs ?? 100, intervalMs: 50, retryBackoffMs: 100 },
    onReady: options.onReady ?? (() => undefined),
    failures: createJobFailures(log),
  });
  jobs.start();
  stage.closers.push(() => jobs.close());
}

/** A workspace with the five built-in agents. */
export async function openWorkspace(
  { db, admin }: Pick<TestDatabase, "db" | "admin">,
  options: TenantOptions = {},
): Promise<Tenant> {
  const tenant = await createTenant(admin, { ...options, agentId: "tester" });
  const { workspaceId } = tenant;
  await db.withWorkspace(workspaceId, (tx) =>
    seedAgents(tx, { workspaceId, model: "claude-sonnet-5-5" }),
  );
  return tenant;
}

/** A queued task for Gray, with the given files as its input. */
export async function giveTask(
  { admin }: Pick<TestDatabase, "admin">,
  {
    stage,
    tenant,
    inputs = {},
    ...options
  }: TaskOptions & {
    stage: Stage;
    tenant: Tenant;
    inputs?: Readonly<Record<string, string>>;
  },
): Promise<{ taskId: string; runId: string }> {
  const { workspaceId } = tenant;
  const uploadId = newId("upl");
  await admin.query(`INSERT INTO uploads (workspace_id, id, created_by) VALUES ($1, $2, 'test')`, [
    workspaceId,
    uploadId,
  ]);
  for (const [path, content] of Object.entries(inputs)) {
    const stream = Readable.from([Buffer.from(content)]);
    const stored = await stage.files.put({ workspaceId, stream, maxBytes: 100_000_000 });
    await admin.query(
      `INSERT INTO upload_files (workspace_id, upload_id, path, size_bytes, sha256) VALUES ($1, $2, $3, $4, $5)`,
      [workspaceId, uploadId, path, stored.sizeBytes, stored.sha256],
    );
  }
  const ids = await createQueuedRun(admin, tenant, { agentId: "gray", ...options });
  await admin.query(`UPDATE tasks SET upload_id = $3 WHERE workspace_id = $1 AND id = $2`, [
    workspaceId,
    ids.taskId,
    uploadId,
  ]);
  return ids;
}

export type TaskState = {
  state: string;
  cause: string | null;
  result: string | null;
  parked: unknown;
};

export async function taskState(
  { admin }: Pick<TestDatabase, "admin">,
  taskId: string,
): Promise<TaskState> {
  const { rows } = await admin.query<TaskState>(
    "SELECT state, cause, result, parked FROM tasks WHERE id = $1",
    [taskId],
  );
  const [task] = rows;
  if (task === undefined) throw new Error(`there is no task ${taskId}`);
  return task;
}

/** What `guildhall verify` finds wrong in the database: nothing, after whatever a test has done. */
export async function brokenLaws({ db }: Pick<TestDatabase, "db">): Promise<object[]> {
  const laws = await verify(db, { quiet: false });
  return laws.flatMap(({ law, violations }) => violations.map((violation) => ({ law, violation })));
}

/** Waits until the check no longer throws; long enough for a busy machine. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 20_000, interval: 20 });
}

/** Waits until the task is in one of the states. */
export function taskReaches(
  database: Pick<TestDatabase, "admin">,
  taskId: string,
  ...states: string[]
): Promise<TaskState> {
  return eventually(async () => {
    const task = await taskState(database, taskId);
    if (!states.includes(task.state)) throw new Error(`the task is ${JSON.stringify(task)}`);
    return task;
  });
}

/** The events of a task as clients get them, checked against the contract. */
export async function eventsOf(
  { admin }: Pick<TestDatabase, "admin">,
  taskId: string,
): Promise<Event[]> {
  const { rows } = await admin.query<{ stream_id: string; seq: number; at: Date }>(
    "SELECT stream_id, seq::int AS seq, at, type, data FROM events WHERE stream_id = $1 ORDER BY seq",
    [taskId],
  );
  return rows.map((row) => eventSchema.parse({ ...row, at: row.at.toISOString() }));
}

export const salesCsv = `order_id,region,amount\n1,north,120\n2,south,80\n3,north,\n3,north,\n4,west,99999\n`;

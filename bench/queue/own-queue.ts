import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLedger } from "../../server/ledger/ledger.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { createLocalFileStore } from "../../server/platform/file-store/open-file-store.ts";
import { newId } from "../../server/platform/ids.ts";
import { createLogger } from "../../server/platform/log.ts";
import { createRunJobs, type RunJobs } from "../../server/tasks/execution/jobs.ts";
import { createTask } from "../../server/tasks/task-creation.ts";
import { createWorker } from "../../server/tasks/execution/worker.ts";
import type { Tenant } from "../../server/test/tenant.ts";
import { createToolRegistry } from "../../server/tools/tools.ts";
import type { BenchDatabase } from "../database.ts";

/** The product's tasks and one worker of its own, whose agent does nothing: what is left is the queue. */
export type OwnQueue = {
  /** Creates a task as `POST /v1/tasks` does, less its HTTP. -> its id */
  create(tenant: Tenant): Promise<string>;
  /** Begins to execute tasks, so many at once. `onStart`: the agent of this task is called. */
  work(options: { concurrency: number; onStart(taskId: string): void }): void;
  close(): Promise<void>;
};

export async function createOwnQueue(database: BenchDatabase): Promise<OwnQueue> {
  const db = database.openDb();
  const dataDir = await mkdtemp(join(tmpdir(), "guildhall-bench-"));
  const log = createLogger({ level: "error" });
  let jobs: RunJobs | undefined;
  let worker: ReturnType<typeof createWorker> | undefined;

  return {
    async create({ workspaceId, agentId }) {
      const body = { agent: agentId, prompt: "Do nothing." };
      const caller = { workspaceId, actor: "user:bench", origin: "bench" };
      const task = await db.withWorkspace(workspaceId, (tx) => createTask(tx, { caller, body }));
      worker?.wake();
      return task.id;
    },
    work({ concurrency, onStart }) {
      worker = createWorker({
        db,
        ledger: createLedger({ db, processId: newId("wrk") }),
        runtimeFor: () => ({
          run({ run }) {
            onStart(run.taskId);
            return Promise.resolve({ status: "succeeded", result: "done" });
          },
        }),
        tools: createToolRegistry([], { onUnexpected: () => undefined }),
        files: createLocalFileStore({ db, log, filesFolder: join(dataDir, "files") }),
        dataDir,
        gatewayUrl: "http://127.0.0.1:1",
        clock: systemClock,
        log,
        config: {
          concurrency,
          leaseMs: 8_000,
          heartbeatMs: 2_000,
          pollMs: 1_000,
          agentTimeSliceMs: 15_000,
        },
      });
      worker.start();
      jobs = createRunJobs({
        db,
        log,
        config: { graceMs: 1_000, intervalMs: 1_000 },
        onReady: () => worker?.wake(),
      });
      jobs.start();
    },
    async close() {
      await jobs?.close();
      await worker?.close({ drainMs: 1_000 });
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

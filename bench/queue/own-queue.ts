import { createJobFailures } from "../../server/platform/job-failures.ts";
import { createLogger } from "../../server/platform/log.ts";
import { createRunJobs, type RunJobs } from "../../server/tasks/execution/jobs.ts";
import { createTask } from "../../server/tasks/task-creation.ts";
import type { Worker } from "../../server/tasks/execution/worker.ts";
import type { Tenant } from "../../server/test/tenant.ts";
import type { BenchDatabase } from "../database.ts";
import { createIdleWorker } from "./idle-worker.ts";

/** The product's tasks and one worker, in one process. */
export type OwnQueue = {
  /** Creates a task as `POST /v1/tasks` does, less its HTTP. -> its id */
  create(tenant: Tenant): Promise<string>;
  /** Begins to execute tasks, so many at once. `onStart`: a worker has begun with this task. */
  work(options: {
    concurrency: number;
    runMs?: number;
    onStart(taskId: string): void;
  }): Promise<void>;
  /** Lets what has begun come to its end, and begins nothing more until it works again. */
  rest(): Promise<void>;
};

export function createOwnQueue(database: BenchDatabase): OwnQueue {
  const db = database.openDb();
  const log = createLogger({ level: "error" });
  let jobs: RunJobs | undefined;
  let worker: Worker | undefined;

  return {
    async create({ workspaceId, agentId }) {
      const body = { agent: agentId, prompt: "Do nothing." };
      const caller = { workspaceId, actor: "user:bench", origin: "bench" };
      const task = await db.withWorkspace(workspaceId, (tx) => createTask(tx, { caller, body }));
      worker?.wake();
      return task.id;
    },
    async work({ concurrency, runMs = 0, onStart }) {
      worker = await createIdleWorker(db, {
        runMs,
        onStart: ({ taskId }) => onStart(taskId),
        config: { concurrency, leaseMs: 8_000, heartbeatMs: 2_000, pollMs: 1_000 },
      });
      worker.start();
      jobs = createRunJobs({
        db,
        failures: createJobFailures(log),
        config: { graceMs: 1_000, intervalMs: 1_000 },
        onReady: () => worker?.wake(),
      });
      jobs.start();
    },
    async rest() {
      await jobs?.close();
      await worker?.close({ drainMs: 10_000 });
      worker = undefined;
    },
  };
}

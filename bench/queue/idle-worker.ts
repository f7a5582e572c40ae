import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createLedger } from "../../server/ledger/ledger.ts";
import { systemClock } from "../../server/platform/clock.ts";
import type { Db } from "../../server/platform/db.ts";
import { createLocalFileStore } from "../../server/platform/file-store/open-file-store.ts";
import { newId } from "../../server/platform/ids.ts";
import { createLogger } from "../../server/platform/log.ts";
import type { WorkerConfig, WorkerDeps } from "../../server/tasks/execution/worker-runs.ts";
import { createWorker, type Worker } from "../../server/tasks/execution/worker.ts";
import { createToolRegistry } from "../../server/tools/tools.ts";

/** A worker of the product whose agents do nothing: what is left is the queue. `close` removes its folder, too. */
export async function createIdleWorker(
  db: Db,
  options: Pick<WorkerDeps, "onStart"> & {
    config: Omit<WorkerConfig, "agentTimeSliceMs">;
    passOn?(): void;
    /** How long each run lasts without doing anything; 0 by default. */
    runMs?: number;
  },
): Promise<Worker> {
  const { runMs = 0, ...deps } = options;
  const dataDir = await mkdtemp(join(tmpdir(), "guildhall-bench-"));
  const log = createLogger({ level: "error" });
  const worker = createWorker({
    db,
    ledger: createLedger({ db, processId: newId("wrk") }),
    runtimeFor: () => ({
      async run() {
        if (runMs > 0) await delay(runMs);
        return { status: "succeeded", result: "" };
      },
    }),
    tools: createToolRegistry([], { onUnexpected: () => undefined }),
    files: createLocalFileStore({ db, log, filesFolder: join(dataDir, "files") }),
    dataDir,
    gatewayUrl: "http://127.0.0.1:9",
    clock: systemClock,
    log,
    ...deps,
    config: { agentTimeSliceMs: 15_000, ...deps.config },
  });
  return {
    ...worker,
    async close(drain) {
      await worker.close(drain);
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

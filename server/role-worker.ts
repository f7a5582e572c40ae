import { join } from "node:path";
import type { Histogram } from "prom-client";
import { createStartDelays } from "./operator/start-delays.ts";
import type { RoleParts } from "./role-parts.ts";
import { createNativeRuntime } from "./runtimes/native/native.ts";
import type { WorkerFailures } from "./tasks/execution/worker-failures.ts";
import { createWorker } from "./tasks/execution/worker.ts";
import { createBuiltInTools } from "./tools/built-in-tools.ts";
import { createToolRegistry } from "./tools/tools.ts";

export type WorkerRole = {
  /** What the metrics tell of it. */
  startDelays: Histogram;
  running(): number;
  failures: WorkerFailures;
  start(): void;
  /** Claims nothing more, lets runs come to the end of their step for `drainMs`, and hands them over. */
  close(options: { drainMs: number }): Promise<void>;
};

/** The worker of this process: claims and executes runs. `gatewayUrl`: where it reaches the model. */
export function createWorkerRole(parts: RoleParts, gatewayUrl: string): WorkerRole {
  const { config, log, installation, notices, wakeUp } = parts;
  const { db, dataDir } = installation;
  const tools = createToolRegistry(
    createBuiltInTools({ scratchFolder: join(dataDir, "scratch") }),
    {
      onUnexpected: ({ tool, error }) =>
        log.error({ err: error, tool }, "a tool failed unexpectedly"),
    },
  );
  const runtime = createNativeRuntime();
  const startDelays = createStartDelays();
  const worker = createWorker({
    db,
    ledger: parts.ledger,
    files: parts.files,
    dataDir,
    gatewayUrl,
    clock: parts.clock,
    log,
    runtimeFor: () => runtime,
    tools,
    onEvents: (taskId) => notices.ring("events", taskId),
    onStart: ({ delayMs }) => startDelays.observe(delayMs / 1_000),
    passOn: wakeUp.passOn,
    config: {
      concurrency: config.WORKER_CONCURRENCY,
      leaseMs: config.LEASE_MS,
      heartbeatMs: config.HEARTBEAT_MS,
      pollMs: config.POLL_MS,
      agentTimeSliceMs: config.AGENT_TIME_SLICE_MS,
      retryBackoffMs: config.RETRY_BACKOFF_MS,
    },
  });
  let serving: { stop(): Promise<void> } | undefined;
  return {
    startDelays,
    running: worker.running,
    failures: worker.failures,
    start() {
      worker.start();
      serving = wakeUp.serve(worker);
    },
    async close(options) {
      await Promise.all([serving?.stop(), worker.close(options)]);
    },
  };
}

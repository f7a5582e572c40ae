import { join } from "node:path";
import { createAlertJob } from "./billing/alert-job.ts";
import { createMarginGuard, marginRules } from "./billing/margin-guard.ts";
import type { Ledger } from "./ledger/ledger.ts";
import { forgetOldJournal } from "./ledger/old-journal.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config } from "./platform/config.ts";
import type { Db } from "./platform/db.ts";
import { every, type Recurring } from "./platform/every.ts";
import type { FileStore } from "./platform/file-store/file-store.ts";
import type { Logger } from "./platform/log.ts";
import { relayOutbox } from "./platform/outbox.ts";
import { createNativeRuntime } from "./runtimes/native/native.ts";
import { forgetOldAnswers } from "./tasks/idempotency.ts";
import { createRunJobs } from "./tasks/execution/jobs.ts";
import { forgetOldSnapshots } from "./tasks/execution/run-snapshot.ts";
import { createWorker } from "./tasks/execution/worker.ts";
import { createBuiltInTools } from "./tools/built-in-tools.ts";
import { createToolRegistry } from "./tools/tools.ts";
import { forgetOldDeadWakes } from "./platform/transport/dead-wakes.ts";
import type { WakeUp } from "./wake-up.ts";

/** A gateway that has not been heard of for so long is dead; it says that it lives every few seconds. */
const DEAD_AFTER_MS = 15_000;
/** A hold that was never sent belongs to nobody after this. */
const HELD_FOR_MS = 60_000;
const REAP_AT_MOST = 200;
const LOOK_MS = 1_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

export type Execution = {
  start(): void;
  close(options: { drainMs: number }): Promise<void>;
};

/** What looks at spending from the side: no call waits for it. */
function billingJobs({ config, db, log }: { config: Config; db: Db; log: Logger }): Recurring[] {
  const margins = createMarginGuard({ db, log, ...marginRules(config) });
  return [
    every(LOOK_MS, { name: "raise_alerts", log, run: createAlertJob({ db, log }) }),
    every(LOOK_MS, { name: "watch_margins", log, run: () => margins.watch() }),
    every(MINUTE_MS, { name: "measure_margins", log, run: () => margins.measure() }),
  ];
}

/** What is left behind by the dead, or is kept long enough. */
function housekeeping(deps: {
  db: Db;
  ledger: Ledger;
  files: FileStore;
  log: Logger;
}): Recurring[] {
  const { db, ledger, files, log } = deps;
  return [
    every(5_000, {
      name: "reap_holds",
      log,
      run: () =>
        ledger.reapHolds({
          deadAfterMs: DEAD_AFTER_MS,
          heldForMs: HELD_FOR_MS,
          atMost: REAP_AT_MOST,
        }),
    }),
    every(HOUR_MS, { name: "forget_old_answers", log, run: () => forgetOldAnswers(db) }),
    every(HOUR_MS, { name: "forget_old_dead_wakes", log, run: () => forgetOldDeadWakes(db) }),
    every(HOUR_MS, { name: "forget_old_journal", log, run: () => forgetOldJournal(db) }),
    every(HOUR_MS / 4, {
      name: "remove_unnamed_contents",
      log,
      async run() {
        await forgetOldSnapshots(db);
        await files.removeUnnamed();
      },
    }),
  ];
}

/** Worker and scheduler of this process: claims and executes runs, takes back what the dead have left. */
export function createExecution(options: {
  config: Config;
  db: Db;
  ledger: Ledger;
  files: FileStore;
  dataDir: string;
  gatewayUrl: string;
  clock: Clock;
  wakeUp: WakeUp;
  log: Logger;
}): Execution {
  const { config, db, log, wakeUp } = options;
  const tools = createToolRegistry(
    createBuiltInTools({ scratchFolder: join(options.dataDir, "scratch") }),
    {
      onUnexpected: ({ tool, error }) =>
        log.error({ err: error, tool }, "a tool failed unexpectedly"),
    },
  );
  const runtime = createNativeRuntime();
  const worker = createWorker({
    ...options,
    runtimeFor: () => runtime,
    tools,
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
  const jobs = createRunJobs({
    db,
    log,
    onReady() {
      worker.wake();
      if (!worker.hasRoom()) wakeUp.passOn();
    },
    config: {
      graceMs: config.LEASE_GRACE_MS,
      intervalMs: config.POLL_MS,
      retryBackoffMs: config.RETRY_BACKOFF_MS,
    },
  });
  const recurring: Recurring[] = [
    every(config.POLL_MS, {
      name: "relay_outbox",
      log,
      run: () => relayOutbox(db, (rows) => wakeUp.relayed(rows)),
    }),
    ...billingJobs(options),
    ...housekeeping(options),
  ];
  let serving: { stop(): Promise<void> } | undefined;
  return {
    start() {
      worker.start();
      jobs.start();
      serving = wakeUp.serve({
        wake({ limits }) {
          if (limits) jobs.wake();
          worker.wake();
        },
        hasRoom: worker.hasRoom,
        room: worker.room,
        ended: worker.cancelled,
      });
      for (const job of recurring) job.start();
    },
    async close({ drainMs }) {
      await Promise.all(recurring.map((job) => job.close()));
      await jobs.close();
      await Promise.all([serving?.stop(), worker.close({ drainMs })]);
    },
  };
}

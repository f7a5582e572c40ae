import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Gateway } from "./gateway/gateway.ts";
import type { Ledger } from "./ledger/ledger.ts";
import { forgetOldRefusals } from "./ledger/refusals.ts";
import type { ModelProvider } from "./model-provider.ts";
import { createChecker } from "./operator/check/checker.ts";
import { createMetrics, type Metrics } from "./operator/metrics.ts";
import { createReconcile } from "./operator/reconcile.ts";
import { createSimulatedUsageReport } from "./operator/usage-report.ts";
import { systemClock } from "./platform/clock.ts";
import type { Config } from "./platform/config.ts";
import type { Db } from "./platform/db.ts";
import { every, type Recurring } from "./platform/every.ts";
import type { Logger } from "./platform/log.ts";
import { hasCode } from "./platform/system-error.ts";

export type Upkeep = { metrics: Metrics; start(): void; close(): Promise<void> };

const HOUR_MS = 3_600_000;
const PROCESS_FILE = "gateway-process";

/** The scheduler's part that watches over the money: the continuous check, reconciling, and the metrics of both. */
export function createUpkeep(options: {
  config: Config;
  db: Db;
  ledger: Ledger;
  gateway: Gateway;
  provider: ModelProvider;
  log: Logger;
}): Upkeep {
  const { config, db, ledger, gateway, provider, log } = options;
  const clock = systemClock;
  const checker = createChecker({ db, clock, log });
  // The real provider reports per key, model and hour, which cannot tell one call from another.
  const reconcile = provider.simulated
    ? createReconcile({ db, ledger, report: createSimulatedUsageReport(provider.baseUrl), log })
    : undefined;
  const jobs: Recurring[] = [
    every(config.CHECK_EVERY_MS, { name: "check_laws", log, run: () => checker.run() }),
    every(HOUR_MS, { name: "forget_old_refusals", log, run: () => forgetOldRefusals(db) }),
    ...(reconcile === undefined
      ? []
      : [every(config.RECONCILE_EVERY_MS, { name: "reconcile", log, run: () => reconcile.run() })]),
  ];
  return {
    metrics: createMetrics({ gateway, checker, reconciled: reconcile?.totals, db, clock, log }),
    start() {
      for (const job of jobs) job.start();
    },
    async close() {
      await Promise.all(jobs.map((job) => job.close()));
    },
  };
}

/**
 * Remembers in the data folder which gateway works there. The folder belongs to one process at a time, so whoever has
 * it knows that the gateway before has ended: what that one left may be reconciled. When the database does not hear of
 * it, those charges wait for the provider's figures.
 */
export async function succeedGateway(options: {
  dataDir: string;
  ledger: Pick<Ledger, "processEnded">;
  processId: string;
  log: Logger;
}): Promise<void> {
  const path = join(options.dataDir, PROCESS_FILE);
  const before = await readFile(path, "utf8").catch((error: unknown) => {
    if (!hasCode(error, "ENOENT")) throw error;
    return "";
  });
  try {
    if (before.trim() !== "") await options.ledger.processEnded(before.trim());
  } catch (error) {
    options.log.warn({ err: error }, "the end of the gateway before this one was not recorded");
  }
  await writeFile(path, options.processId, { mode: 0o600 });
}

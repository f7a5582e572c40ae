import { createAlertJob } from "./billing/alert-job.ts";
import { createMarginGuard, marginRules } from "./billing/margin-guard.ts";
import { forgetOldJournal } from "./ledger/old-journal.ts";
import { forgetOldRefusals } from "./ledger/refusals.ts";
import { type Checker, createChecker } from "./operator/check/checker.ts";
import { createReconcile, type ReconcileTotals } from "./operator/reconcile.ts";
import { createSimulatedUsageReport } from "./operator/usage-report.ts";
import { every, type Recurring } from "./platform/every.ts";
import { relayOutbox } from "./platform/outbox.ts";
import { forgetOldDeadWakes } from "./platform/transport/dead-wakes.ts";
import type { RoleParts } from "./role-parts.ts";
import { createRunJobs } from "./tasks/execution/jobs.ts";
import { forgetOldSnapshots } from "./tasks/execution/run-snapshot.ts";
import { forgetOldAnswers } from "./tasks/idempotency.ts";
import { endTemporaryLimits } from "./tasks/temporary-limits.ts";

export type SchedulerRole = {
  checker: Checker;
  /** Undefined where no provider's report can be had. */
  reconciled: ReconcileTotals | undefined;
  start(): void;
  close(): Promise<void>;
};

/** A hold that was never sent belongs to nobody after this. */
const HELD_FOR_MS = 60_000;
const REAP_AT_MOST = 200;
const LOOK_MS = 1_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

/** What looks at spending from the side: no call waits for it. */
function billingJobs({
  config,
  log,
  files,
  failures,
  installation: { db },
}: RoleParts): Recurring[] {
  const margins = createMarginGuard({ db, log, ...marginRules(config) });
  const raiseAlerts = createAlertJob({ db, log, storageQuotaBytes: files.quotaBytes });
  return [
    every(LOOK_MS, { name: "raise_alerts", failures, run: raiseAlerts }),
    every(LOOK_MS, { name: "watch_margins", failures, run: () => margins.watch() }),
    every(MINUTE_MS, { name: "measure_margins", failures, run: () => margins.measure() }),
    every(LOOK_MS, { name: "end_temporary_limits", failures, run: () => endTemporaryLimits(db) }),
  ];
}

function cleaningJobs({ files, failures, installation: { db } }: RoleParts): Recurring[] {
  return [
    every(HOUR_MS / 4, {
      name: "remove_unnamed_contents",
      failures,
      async run() {
        await forgetOldSnapshots(db);
        await files.removeUnnamed();
      },
    }),
    every(HOUR_MS, { name: "forget_old_dead_wakes", failures, run: () => forgetOldDeadWakes(db) }),
    every(HOUR_MS, { name: "forget_old_answers", failures, run: () => forgetOldAnswers(db) }),
    every(HOUR_MS, { name: "forget_old_journal", failures, run: () => forgetOldJournal(db) }),
    every(HOUR_MS, { name: "forget_old_refusals", failures, run: () => forgetOldRefusals(db) }),
  ];
}

/** Ends what dead gateways have left open, and watches over the money: the continuous check and reconciling. */
function ledgerJobs(parts: RoleParts) {
  const { config, clock, ledger, provider, log, failures } = parts;
  const { db } = parts.installation;
  const checker = createChecker({ db, clock, log });
  // The real provider reports per key, model and hour, which cannot tell one call from another.
  const reconcile = provider.simulated
    ? createReconcile({ db, ledger, report: createSimulatedUsageReport(provider.baseUrl), log })
    : undefined;
  const rules = {
    deadAfterMs: config.GATEWAY_LEASE_MS,
    heldForMs: HELD_FOR_MS,
    atMost: REAP_AT_MOST,
  };
  const jobs = [
    every(config.GATEWAY_LEASE_MS / 3, {
      name: "reap_holds",
      failures,
      run: () => ledger.reapHolds(rules),
    }),
    every(config.CHECK_EVERY_MS, { name: "check_laws", failures, run: () => checker.run() }),
    ...(reconcile === undefined
      ? []
      : [
          every(config.RECONCILE_EVERY_MS, {
            name: "reconcile",
            failures,
            run: () => reconcile.run(),
          }),
        ]),
  ];
  return { checker, reconciled: reconcile?.totals, jobs };
}

/**
 * The scheduler of this process: takes back what the dead have left, wakes what waits, hands on facts after commit,
 * watches over the money. Any number of processes may have one: each job skips what another one is at, or comes to the
 * same end when it is done twice.
 */
export function createSchedulerRole(parts: RoleParts): SchedulerRole {
  const { config, failures, notices, wakeUp } = parts;
  const { db } = parts.installation;
  const runJobs = createRunJobs({
    db,
    failures,
    onReady: wakeUp.found,
    config: {
      graceMs: config.LEASE_GRACE_MS,
      intervalMs: config.POLL_MS,
      retryBackoffMs: config.RETRY_BACKOFF_MS,
    },
  });
  notices.on("limits", runJobs.wake);
  const { checker, reconciled, jobs } = ledgerJobs(parts);
  const recurring: Recurring[] = [
    every(config.POLL_MS, {
      name: "relay_outbox",
      failures,
      run: () => relayOutbox(db, (rows) => wakeUp.relayed(rows)),
    }),
    ...billingJobs(parts),
    ...jobs,
    ...cleaningJobs(parts),
  ];
  return {
    checker,
    reconciled,
    start() {
      runJobs.start();
      for (const job of recurring) job.start();
    },
    async close() {
      await Promise.all([runJobs.close(), ...recurring.map((job) => job.close())]);
    },
  };
}

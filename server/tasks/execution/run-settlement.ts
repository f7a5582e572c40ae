import { setTimeout as delay } from "node:timers/promises";
import type { Ledger } from "../../ledger/ledger.ts";
import type { Db } from "../../platform/db.ts";
import type { Logger } from "../../platform/log.ts";
import type { RunOutcome } from "../../runtimes/runtime.ts";
import { releaseRun, retryRun, type Claim } from "./run-claims.ts";
import type { RunEnd, RunEnds, UnusedTime } from "./run-ends.ts";
import { isAway, RETRY_MS } from "./run-fence.ts";
import type { RunLease } from "./run-lease.ts";
import { parkRun } from "./run-parking.ts";

/** `broken`: for a reason inside Guildhall, which another attempt may not meet. */
export type AttemptOutcome = RunOutcome | { status: "broken" };

export type SettlementDeps = {
  db: Db;
  ledger: Pick<Ledger, "returnAgentTime">;
  ends: RunEnds;
  /** The first pause after an attempt that broke, which doubles. */
  retryBackoffMs?: number | undefined;
  /** A task has new events, in the database; for those who wait for them in other processes. */
  onEvents?(taskId: string): void;
  log: Logger;
};

export function unusedTime(
  { ledger, log }: SettlementDeps,
  { workspaceId, runId, epoch }: Claim,
  unusedMs: number,
): UnusedTime {
  let given: Promise<void> | undefined;
  async function giveBack(): Promise<void> {
    try {
      await ledger.returnAgentTime({ workspaceId, runId, epoch, unusedMs });
    } catch (error) {
      // At most the last slices are lost; the outcome of the run must not be.
      log.warn({ err: error, run_id: runId }, "unused agent time was not given back");
    }
  }
  return { ms: unusedMs, giveBack: () => (given ??= giveBack()) };
}

/** Writes how the run goes on. -> false when somebody else holds it, and nothing was written */
function writeHandOver(
  { db, retryBackoffMs }: SettlementDeps,
  claim: Claim,
  outcome: Exclude<AttemptOutcome, { status: "succeeded" | "failed" }>,
): Promise<boolean> {
  switch (outcome.status) {
    case "broken":
      return retryRun(db, claim, retryBackoffMs);
    case "parked":
      return parkRun(db, claim, outcome);
    case "yielded":
      return releaseRun(db, claim, "worker_stopped");
    case "lost":
      return Promise.resolve(false);
  }
}

/** -> undefined when somebody else holds it, and nothing was written */
async function writeOutcome(
  deps: SettlementDeps,
  claim: Claim,
  { outcome, unused }: { outcome: AttemptOutcome; unused: UnusedTime },
): Promise<RunEnd | undefined> {
  if (outcome.status === "succeeded" || outcome.status === "failed") {
    const end =
      outcome.status === "succeeded"
        ? { state: outcome.status, result: outcome.result }
        : { state: outcome.status, cause: outcome.cause, message: outcome.message };
    const written = await deps.ends.finish(claim, end, unused);
    return written.ended ? written : undefined;
  }
  await unused.giveBack();
  const written = await writeHandOver(deps, claim, outcome);
  return written ? { ended: false, waited: true } : undefined;
}

/** Writes the outcome as long as the lease lasts, for the database may be away for a moment. */
export async function settleOutcome(
  deps: SettlementDeps,
  { claim, lease }: { claim: Claim; lease: RunLease },
  { outcome, unused }: { outcome: AttemptOutcome; unused: UnusedTime },
): Promise<RunEnd> {
  const lost: RunEnd = { ended: false, waited: true };
  let mayBeWritten = false;
  while (outcome.status !== "lost" && lease.isValid()) {
    try {
      const written = await writeOutcome(deps, claim, { outcome, unused });
      deps.onEvents?.(claim.taskId);
      if (written === undefined) break;
      return written;
    } catch (error) {
      if (!isAway(error)) throw error;
      mayBeWritten = true;
      deps.log.warn({ err: error, run_id: claim.runId }, "the end of a run waits for the database");
      await delay(RETRY_MS);
    }
  }
  // An end whose answer was lost may have given it back: not twice.
  if (!mayBeWritten) await unused.giveBack();
  return lost;
}

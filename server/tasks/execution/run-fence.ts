import { setTimeout as delay } from "node:timers/promises";
import type { Db, WorkspaceTx } from "../../platform/db.ts";
import { AppError } from "../../platform/errors.ts";
import type { Claim } from "./run-claims.ts";
import type { RunLease } from "./run-lease.ts";

export const RETRY_MS = 200;

/** Thrown inside a fenced transaction when the attempt turns out to be stale; all of it is undone. */
export class StaleAttempt extends Error {}

/** True for what passes when the database, or the file store, is back. */
export function isAway(error: unknown): boolean {
  return (
    error instanceof AppError &&
    (error.code === "database_unavailable" || error.code === "storage_unavailable")
  );
}

/** Does `work` now or when what it needs is back; by then the lease may be gone, and the signal ends the waiting. */
export async function whenReachable<T>(lease: RunLease, work: () => Promise<T>): Promise<T> {
  for (;;) {
    lease.signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      lease.signal.throwIfAborted();
      if (!isAway(error)) throw error;
      await delay(RETRY_MS, undefined, { signal: lease.signal }).catch(() => undefined);
    }
  }
}

/**
 * One transaction of an attempt. `work` throws `StaleAttempt` where the database says that the lease is gone: then the
 * run's signal is aborted, and its reason is thrown.
 */
export async function fenced<T>(
  { db, claim, lease }: { db: Db; claim: Claim; lease: RunLease },
  work: (tx: WorkspaceTx) => Promise<T>,
): Promise<T> {
  if (!lease.isValid()) lease.stop({ kind: "lost" });
  lease.signal.throwIfAborted();
  try {
    return await db.withWorkspace(claim.workspaceId, work);
  } catch (error) {
    if (!(error instanceof StaleAttempt)) throw error;
    lease.stop({ kind: "lost" });
    lease.signal.throwIfAborted();
    throw error;
  }
}

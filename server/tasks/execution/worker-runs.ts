import { extendLeases, type Claim } from "./run-claims.ts";
import { createRunEnds } from "./run-ends.ts";
import { executeRun, type RunExecutionDeps } from "./run-execution.ts";
import { createRunLease, type RunLease, type RunStop } from "./run-lease.ts";

export type WorkerConfig = {
  /** Runs that are executed at once. */
  concurrency: number;
  /** How long a claimed run stays with a silent worker. */
  leaseMs: number;
  /** How often the leases are extended; well below `leaseMs`. */
  heartbeatMs: number;
  /** How often it looks for work when no bell rings. */
  pollMs: number;
  agentTimeSliceMs: number;
  retryBackoffMs?: number;
  /** How often it looks for folders of runs that are over; an hour when absent. */
  sweepMs?: number;
};

export type WorkerDeps = Omit<RunExecutionDeps, "agentTimeSliceMs" | "retryBackoffMs" | "ends"> & {
  config: WorkerConfig;
};

/** The runs that one worker executes. */
export type WorkerRuns = {
  readonly size: number;
  /**
   * How many more may begin. One whose agent is done makes room before its end is written, for that takes nothing but the
   * database; but no more are written at once than may be executed, so that a slow database holds the worker back.
   */
  room(): number;
  /** Executes a run that was claimed by a request sent at `sentAtMs` (monotonic). */
  begin(claim: Claim, sentAtMs: number): void;
  /** Extends the leases of all runs with one statement, and stops those that the database no longer grants. */
  extendAll(): Promise<void>;
  /** Stops the runs that `which` picks. */
  stop(stop: RunStop, which?: (claim: Claim) => boolean): void;
  /** Resolves when no run is executed any more, those included that begin meanwhile. */
  allEnded(): Promise<void>;
};

type Held = { claim: Claim; lease: RunLease; ended: Promise<void> };

export function createWorkerRuns(
  deps: WorkerDeps & {
    workerId: string;
    isDraining(): boolean;
    /** There may be room for one more. */
    onRoom(): void;
    /** `othersWait`: it may have freed a slot that is waited for, or made another run ready. */
    onEnd(othersWait: boolean): void;
  },
): WorkerRuns {
  const { db, clock, config, workerId, isDraining } = deps;
  const { leaseMs, agentTimeSliceMs, retryBackoffMs } = config;
  const held = new Set<Held>();
  const ends = createRunEnds(db);
  let executed = 0;

  function onExecuted(): void {
    executed--;
    deps.onRoom();
  }

  return {
    get size() {
      return held.size;
    },
    room: () => Math.min(config.concurrency - executed, 2 * config.concurrency - held.size),
    begin(claim, sentAtMs) {
      const lease = createRunLease({ clock, leaseMs, sentAtMs });
      const run: Held = { claim, lease, ended: Promise.resolve() };
      executed++;
      run.ended = executeRun(
        { ...deps, ends, agentTimeSliceMs, retryBackoffMs },
        { claim, claimedAtMs: sentAtMs, lease, isDraining, onExecuted },
      ).then((othersWait) => {
        held.delete(run);
        deps.onRoom();
        deps.onEnd(othersWait);
      });
      held.add(run);
      // Its claim was one.
      deps.onEvents?.(claim.taskId);
    },
    async extendAll() {
      // A run that was told to stop has what is left of its lease to say how it ended, and no more: a tool that does
      // not heed its signal must not keep the run for ever.
      const runs = [...held].filter(({ lease }) => lease.stopped() === undefined);
      if (runs.length === 0) return;
      const sentAtMs = clock.monotonicMs();
      const claims = runs.map((run) => run.claim);
      const extended = await extendLeases(db, { workerId, leaseMs, claims });
      for (const { claim, lease } of runs) {
        if (extended.has(claim.runId)) lease.extend(sentAtMs);
        else lease.stop({ kind: "lost" });
      }
    },
    stop(stop, which = () => true) {
      for (const { claim, lease } of held) if (which(claim)) lease.stop(stop);
    },
    async allEnded() {
      while (held.size > 0) await Promise.all([...held].map((run) => run.ended));
    },
  };
}

import { setTimeout as delay } from "node:timers/promises";
import { newId } from "../../platform/ids.ts";
import { claimRuns, findFirstLiveEpoch } from "./run-claims.ts";
import {
  listAttemptFolders,
  listRunFolders,
  removeAttemptFolder,
  removeRunFolders,
} from "./run-folder-setup.ts";
import { createWaitingRoom } from "./waiting-room.ts";
import { createClaims } from "./worker-claims.ts";
import { createWorkerFailures, type WorkerFailures } from "./worker-failures.ts";
import { createWorkerRuns, type WorkerDeps } from "./worker-runs.ts";

export type Worker = {
  /** `wrk_...`; new for each start of a process. */
  readonly id: string;
  start(): void;
  /** There may be work: look now. */
  wake(): void;
  /** A task was cancelled: stop its run now instead of at its next heartbeat. Takes the id of the task or of the run. */
  cancelled(id: string): void;
  /** How many runs are executed now. */
  running(): number;
  /** True while it would claim a run. */
  hasRoom(): boolean;
  /** Resolves when there is room, or never will be again. */
  room(): Promise<void>;
  readonly failures: WorkerFailures;
  /**
   * Claims nothing more, lets runs come to the end of their step, stops them after `drainMs`, and hands them over.
   * Resolves when every run has been handed over or has ended; with the database away, a little later: then the leases
   * run out by themselves.
   */
  close(options: { drainMs: number }): Promise<void>;
};

/** After the drain: time to hand the last runs over. */
const LAST_WRITES_MS = 5_000;
const SWEEP_MS = 3_600_000;

type RunName = Parameters<typeof removeRunFolders>[1];

async function sweepRun({ db, dataDir }: WorkerDeps, run: RunName): Promise<void> {
  // Listed first: an attempt that is claimed after this look has none of these.
  const attempts = await listAttemptFolders(dataDir, run);
  const firstLive = await findFirstLiveEpoch(db, run);
  if (firstLive === undefined) return removeRunFolders(dataDir, run);
  for (const attempt of attempts)
    if (attempt.epoch < firstLive) await removeAttemptFolder(dataDir, attempt);
}

/** Removes what attempts that are over left on this disk: their worker died, or woke up too late. */
async function sweepRunFolders(deps: WorkerDeps): Promise<void> {
  const { dataDir, log } = deps;
  try {
    for (const run of await listRunFolders(dataDir)) {
      try {
        await sweepRun(deps, run);
      } catch (error) {
        // A stale attempt may still write there; the others' folders need not wait for it.
        log.warn({ err: error, run_id: run.runId }, "old folders of a run were not removed");
      }
    }
  } catch (error) {
    log.warn({ err: error }, "old run folders were not removed");
  }
}

async function sweepLoop(deps: WorkerDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sweepRunFolders(deps);
    await delay(deps.config.sweepMs ?? SWEEP_MS, undefined, { signal }).catch(() => undefined);
  }
}

/**
 * Claims runs and executes them. One per process; any number of processes. `passOn` is called when there may be work
 * that it leaves to others: it has filled up, or hands over what it had.
 */
export function createWorker(deps: WorkerDeps & { passOn?(): void }): Worker {
  const { db, clock, config, log, passOn = () => undefined } = deps;
  const id = newId("wrk");
  const drain = new AbortController();
  const closed = new AbortController();
  const { failures, attempt } = createWorkerFailures(log);
  const runs = createWorkerRuns({
    ...deps,
    workerId: id,
    isDraining: () => drain.signal.aborted,
    onRoom() {
      claims.roomMade();
      room.look();
    },
    onEnd(othersWait) {
      if (othersWait) claims.ring();
      if (drain.signal.aborted) passOn();
    },
  });
  let loops: Promise<unknown> = Promise.resolve();

  const hasRoom = (): boolean => !drain.signal.aborted && runs.room() > 0;
  const room = createWaitingRoom(() => hasRoom() || drain.signal.aborted);

  async function claim(atMost: number): Promise<number | undefined> {
    const sentAtMs = clock.monotonicMs();
    const { leaseMs, agentTimeSliceMs } = config;
    const asked = { workerId: id, leaseMs, atMost, agentTimeSliceMs };
    const claimed = await attempt("claim", () => claimRuns(db, asked));
    if (claimed === undefined) return undefined;
    for (const one of claimed) runs.begin(one, sentAtMs);
    if (claimed.length === atMost && !hasRoom()) passOn();
    return claimed.length;
  }
  const claims = createClaims({
    claim,
    room: runs.room,
    pollMs: config.pollMs,
  });

  /** Goes on while the worker drains: its runs still need their leases. */
  async function heartbeatLoop(): Promise<void> {
    while (!closed.signal.aborted) {
      await delay(config.heartbeatMs, undefined, { signal: closed.signal }).catch(() => undefined);
      await attempt("lease", runs.extendAll);
    }
  }

  return {
    id,
    start() {
      claims.start();
      loops = Promise.all([sweepLoop(deps, closed.signal), heartbeatLoop()]);
    },
    wake: claims.ring,
    cancelled: (taskOrRunId) =>
      runs.stop({ kind: "lost" }, (claim) => [claim.runId, claim.taskId].includes(taskOrRunId)),
    running: () => runs.size,
    hasRoom,
    room: room.until,
    failures,
    async close({ drainMs }) {
      drain.abort();
      const noMoreClaims = claims.close();
      room.look();
      const timer = setTimeout(() => runs.stop({ kind: "shutdown" }), drainMs);
      const handedOver = (async () => {
        // A claim that was under way when the drain began still begins its runs.
        await noMoreClaims;
        await runs.allEnded();
        closed.abort();
        await loops;
      })();
      const giveUp = new AbortController();
      await Promise.race([
        handedOver,
        delay(drainMs + LAST_WRITES_MS, undefined, { signal: giveUp.signal }).catch(
          () => undefined,
        ),
      ]);
      giveUp.abort();
      closed.abort();
      clearTimeout(timer);
    },
  };
}

import type { Ledger } from "../ledger/ledger.ts";
import { GATEWAY_LEASE_DEFAULT_MS } from "../platform/config.ts";
import { createJobFailures, type JobFailures } from "../platform/job-failures.ts";
import type { Logger } from "../platform/log.ts";

export type Liveness = {
  /** Resolves when the database knows that this process lives; throws when it cannot be told. */
  ensure(): Promise<void>;
  stop(): Promise<void>;
};

/** Parts of the time after which a silent gateway counts as dead and its open holds are posted in full. */
const BEATS = 7.5;
const FRESH = 0.5;

/** Keeps telling the database that the owner of this gateway's holds lives. Without that no hold is taken. */
export function createLiveness(deps: {
  ledger: Pick<Ledger, "processSeen" | "endUnresolved">;
  log: Logger;
  /** Counts the beats that fail; without it they are only logged. */
  failures?: JobFailures;
  /** After so long a silence this process counts as dead; milliseconds. */
  leaseMs?: number | undefined;
}): Liveness {
  const { leaseMs = GATEWAY_LEASE_DEFAULT_MS, failures = createJobFailures(deps.log) } = deps;
  const attemptBeat = failures.watch("gateway_heartbeat");
  const attemptEnd = failures.watch("end_unresolved_holds");
  let seenAtMs: number | undefined;

  async function beat(): Promise<true> {
    const startedMs = performance.now();
    await deps.ledger.processSeen("gateway");
    seenAtMs = startedMs;
    return true;
  }

  async function endUnresolved(): Promise<void> {
    for (const { holdId, workspaceId, error } of await deps.ledger.endUnresolved())
      deps.log.error(
        { err: error, hold_id: holdId, workspace_id: workspaceId },
        "a hold that was never sent could not be ended yet; trying again",
      );
  }

  let ending: Promise<void> | undefined;
  /** After the beat and apart from it: what goes wrong here, or takes long, must not make this process look dead. */
  async function beatAndEnd(): Promise<void> {
    if ((await attemptBeat(beat)) === undefined) return;
    ending ??= attemptEnd(endUnresolved).finally(() => {
      ending = undefined;
    });
    await ending;
  }

  let last = Promise.resolve();
  const timer = setInterval(() => {
    last = beatAndEnd();
  }, leaseMs / BEATS);
  timer.unref();

  return {
    async ensure() {
      if (seenAtMs === undefined || performance.now() - seenAtMs > leaseMs * FRESH) await beat();
    },
    stop() {
      clearInterval(timer);
      return last;
    },
  };
}

import type { Ledger } from "../ledger/ledger.ts";
import type { Logger } from "../platform/log.ts";

export type Liveness = {
  /** Resolves when the database knows that this process lives; throws when it cannot be told. */
  ensure(): Promise<void>;
  stop(): Promise<void>;
};

/** Well below the age at which a silent process counts as dead and its open holds are posted in full. */
const BEAT_MS = 2_000;
const FRESH_MS = 8_000;

/** Keeps telling the database that the owner of this gateway's holds lives. Without that no hold is taken. */
export function createLiveness(deps: {
  ledger: Pick<Ledger, "processSeen">;
  log: Logger;
}): Liveness {
  let seenAtMs: number | undefined;

  async function beat(): Promise<void> {
    const startedMs = performance.now();
    await deps.ledger.processSeen("gateway");
    seenAtMs = startedMs;
  }

  let last = Promise.resolve();
  const timer = setInterval(() => {
    last = beat().catch((error: unknown) =>
      deps.log.warn({ err: error }, "the database could not be told that the gateway lives"),
    );
  }, BEAT_MS);
  timer.unref();

  return {
    async ensure() {
      if (seenAtMs === undefined || performance.now() - seenAtMs > FRESH_MS) await beat();
    },
    stop() {
      clearInterval(timer);
      return last;
    },
  };
}

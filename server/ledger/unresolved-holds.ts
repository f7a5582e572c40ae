import type { Clock } from "../platform/clock.ts";
import type { Settlement, SettleOutcome } from "./calls.ts";

/**
 * A statement whose answer was lost may still be at work in the database, but not for longer than the ledger role's
 * statement timeout (5 s). After this it either stands or never will.
 */
const UNRESOLVED_MS = 10_000;

type HoldName = { workspaceId: string; holdId: string };

export type UnresolvedHolds = {
  /** Makes or marks a hold, and remembers it while it is not known what became of that. */
  change<Answer>(hold: HoldName, work: () => Promise<Answer>): Promise<Answer>;
  /** Ends those that are old enough. Nothing was sent for them, so what stands of them costs nothing. -> what failed */
  end(): Promise<UnresolvedFailure[]>;
};

/** A hold that could not be ended; it is tried again the next time. */
export type UnresolvedFailure = HoldName & { error: unknown };

/**
 * Holds of a living process that it does not know of: their commit was answered by a lost connection. The reaper leaves
 * them alone as long as the process lives, so it has to end them itself.
 */
export function createUnresolvedHolds(deps: {
  clock: Clock;
  settle(settlement: Settlement): Promise<SettleOutcome>;
}): UnresolvedHolds {
  const { clock, settle } = deps;
  const unresolved = new Map<string, HoldName & { sinceMs: number }>();
  return {
    async change({ workspaceId, holdId }, work) {
      try {
        const answer = await work();
        unresolved.delete(holdId);
        return answer;
      } catch (error) {
        // Whatever went wrong: a broken connection has more names than anyone lists, and ending no hold does no harm.
        unresolved.set(holdId, { workspaceId, holdId, sinceMs: clock.monotonicMs() });
        throw error;
      }
    },
    async end() {
      const failures: UnresolvedFailure[] = [];
      for (const { workspaceId, holdId, sinceMs } of unresolved.values()) {
        if (clock.monotonicMs() - sinceMs < UNRESOLVED_MS) continue;
        try {
          const ended = await settle({ workspaceId, holdId, outcome: "void" });
          if (ended.status === "unchanged")
            await settle({ workspaceId, holdId, outcome: "settled", actualNanoUsd: 0 });
          unresolved.delete(holdId);
        } catch (error) {
          // The others must not wait for one that never can be ended.
          failures.push({ workspaceId, holdId, error });
        }
      }
      return failures;
    },
  };
}

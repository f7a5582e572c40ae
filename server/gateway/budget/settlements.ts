import { setTimeout as delay } from "node:timers/promises";
import type { SettleOutcome, Settlement } from "../../ledger/calls.ts";
import type { Ledger } from "../../ledger/ledger.ts";
import { AppError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";

export type Settlements = {
  /** Ends a hold, however long the database is away. Resolves when it is durable; undefined when the gateway had to stop first. */
  settle(settlement: Settlement): Promise<SettleOutcome | undefined>;
  /** Resolves when this hold is not being settled, or is given up. */
  ended(holdId: string): Promise<unknown>;
  /** How many holds are not ended yet. */
  pending(): number;
  /** Tries all that is left until the deadline, then gives up: the reaper posts what remains in full. */
  close(deadlineMs: number): Promise<void>;
};

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;
const MAX_CONCURRENT_RETRIES = 8;
/** Answers that wait in memory for the database; beyond it they are let go, and only the charges are kept. */
const MAX_WAITING_JOURNAL_BYTES = 64 * 1024 * 1024;
/** For a try that was under way, or is the last, when the gateway stopped. */
const LAST_TRY_MS = 3_000;
/** A refusal by the database itself (not its absence) is most likely the journal's or the usage's: tried without. */
const REFUSALS_WITH_EXTRAS = 5;

type Try = { status: "ended"; outcome: SettleOutcome } | { status: "away" } | { status: "refused" };

function withoutJournal({ journal: _journal, ...rest }: Settlement): Settlement {
  return rest;
}

function withoutExtras({ usage: _usage, ...rest }: Settlement): Settlement {
  return withoutJournal(rest);
}

/** At most so many at once; the others wait in line. */
function createPlaces(limit: number) {
  let taken = 0;
  const queue: (() => void)[] = [];
  return {
    async place(): Promise<void> {
      if (taken >= limit) await new Promise<void>((resolve) => queue.push(resolve));
      taken += 1;
    },
    leave(): void {
      taken -= 1;
      queue.shift()?.();
    },
  };
}

/**
 * Settles holds and never loses one silently: what the database does not take is tried again from memory. Retries
 * share a few places, so that a database that comes back is not met by all of them at once.
 */
export function createSettlements(deps: {
  ledger: Pick<Ledger, "settle">;
  log: Logger;
}): Settlements {
  const open = new Set<string>();
  const running = new Map<string, Promise<unknown>>();
  const stopping = new AbortController();
  let waitingJournalBytes = 0;
  const { place, leave } = createPlaces(MAX_CONCURRENT_RETRIES);

  async function tryOnce(settlement: Settlement): Promise<Try> {
    try {
      return { status: "ended", outcome: await deps.ledger.settle(settlement) };
    } catch (error) {
      deps.log.warn(
        { err: error, workspace_id: settlement.workspaceId, hold_id: settlement.holdId },
        "a hold could not be settled yet; trying again",
      );
      return { status: error instanceof AppError && error.retryable ? "away" : "refused" };
    }
  }

  async function retry(settlement: Settlement): Promise<SettleOutcome | undefined> {
    const bytes = settlement.journal?.body.length ?? 0;
    const keeps = waitingJournalBytes + bytes <= MAX_WAITING_JOURNAL_BYTES;
    if (keeps) waitingJournalBytes += bytes;
    let current = keeps ? settlement : withoutJournal(settlement);
    let waitMs = FIRST_RETRY_MS;
    let refusals = 0;
    try {
      for (;;) {
        // A stop ends the waiting, not the last try.
        await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => {});
        if (refusals >= REFUSALS_WITH_EXTRAS) current = withoutExtras(current);
        await place();
        const result = await tryOnce(current).finally(leave);
        if (result.status === "ended") return result.outcome;
        if (result.status === "refused") refusals += 1;
        if (stopping.signal.aborted) return undefined;
        waitMs = Math.min(LAST_RETRY_MS, waitMs * 2);
      }
    } finally {
      if (keeps) waitingJournalBytes -= bytes;
    }
  }

  async function untilDurable(settlement: Settlement): Promise<SettleOutcome | undefined> {
    open.add(settlement.holdId);
    const first = await tryOnce(settlement);
    const result = first.status === "ended" ? first.outcome : await retry(settlement);
    if (result !== undefined) open.delete(settlement.holdId);
    return result;
  }

  return {
    settle(settlement) {
      const settled = untilDurable(settlement);
      const { holdId } = settlement;
      running.set(holdId, settled);
      return settled.finally(() => {
        if (running.get(holdId) === settled) running.delete(holdId);
      });
    },
    ended: (holdId) => running.get(holdId) ?? Promise.resolve(),
    pending: () => open.size,
    async close(deadlineMs) {
      await Promise.race([
        Promise.all(running.values()),
        delay(deadlineMs, undefined, { ref: false }),
      ]);
      stopping.abort();
      await Promise.race([
        Promise.all(running.values()),
        delay(LAST_TRY_MS, undefined, { ref: false }),
      ]);
      if (open.size > 0)
        deps.log.error(
          { hold_ids: [...open].slice(0, 100), count: open.size },
          "holds were left open; the reaper will post them in full",
        );
    },
  };
}

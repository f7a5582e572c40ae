import type { ReserveOutcome } from "../../ledger/calls.ts";

/** One call that waits for a budget. */
export type Waiter = {
  reserve(): Promise<ReserveOutcome>;
  /** What the last try said. */
  last: ReserveOutcome;
  /** How many calls that came later went first. */
  overtaken: number;
  /** Its time is over, or nobody waits for it any more: the try under way is its last. */
  expired: boolean;
  trying: boolean;
  finish(outcome: ReserveOutcome): void;
  fail(error: unknown): void;
};

/** Those who wait for the same budget, first come first. */
export type BudgetLine = {
  waiters: Waiter[];
  /** Tries those in front; does nothing more when that is under way already than to do it once more. */
  pump(): Promise<void>;
  leave(waiter: Waiter): void;
};

/** Holds that other processes settle are noticed by polling. */
const POLL_MS = 500;
/** How many in a line are tried at each chance: a small call may pass a large one ... */
const LOOK_AHEAD = 4;
/** ... but only so often. Then everyone waits for the first. */
export const MAX_OVERTAKEN = 8;

/** One try. -> true when the waiter has its outcome and left the line */
async function tryWaiter(waiter: Waiter, first: Waiter | undefined): Promise<boolean> {
  waiter.trying = true;
  try {
    const outcome = await waiter.reserve();
    waiter.last = outcome;
    if (outcome.status === "reserved" && !waiter.expired) return false;
    if (outcome.status === "held" && first !== undefined && first !== waiter) first.overtaken += 1;
    waiter.finish(outcome);
  } catch (error) {
    waiter.fail(error);
  } finally {
    waiter.trying = false;
  }
  return true;
}

export function createBudgetLine(): BudgetLine {
  const waiters: Waiter[] = [];
  let running = false;
  let again = false;
  let poll: NodeJS.Timeout | undefined;

  async function round(): Promise<void> {
    for (const waiter of waiters.slice(0, LOOK_AHEAD)) {
      // Its time may have run out while another was tried: a hold that it took now would be nobody's.
      if (!waiters.includes(waiter)) continue;
      const first = waiters[0];
      if (first !== undefined && first !== waiter && first.overtaken >= MAX_OVERTAKEN) return;
      if (await tryWaiter(waiter, first)) again = true;
    }
  }

  async function pump(): Promise<void> {
    again = true;
    if (running) return;
    running = true;
    clearTimeout(poll);
    while (again && waiters.length > 0) {
      again = false;
      await round();
    }
    running = false;
    if (waiters.length > 0) poll = setTimeout(() => void pump(), POLL_MS);
  }

  return {
    waiters,
    pump,
    leave(waiter) {
      const index = waiters.indexOf(waiter);
      if (index >= 0) waiters.splice(index, 1);
      if (waiters.length === 0) clearTimeout(poll);
    },
  };
}

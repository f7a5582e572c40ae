import type { RunSpender } from "../../ledger/calls.ts";

/** An answer that was, or is being, paid for, and that its client does not have. */
export type UndeliveredAnswer = {
  holdId: string;
  /** Resolves when the attempt that brings it has ended, in whatever way. */
  ended: Promise<unknown>;
  /** Resolves to true when the database knows that this answer is still to be had, at any gateway. */
  marked?: Promise<boolean>;
};

/** The same call by the same attempt of a run. */
export type CallName = { spender: RunSpender; request: { requestHash: string } };

export type Undelivered = {
  note(call: CallName, answer: UndeliveredAnswer): void;
  /** The oldest of this call. Each is given to one caller, who notes it again unless it was used. */
  take(call: CallName): UndeliveredAnswer | undefined;
};

/** Beyond it the oldest are forgotten: repeating those calls is paid for again. */
const MAX_CALLS = 10_000;

/** The secret's hash stands for the attempt: who only guesses its names finds nothing. */
function keyOf({ spender, request }: CallName): string {
  return `${spender.workspaceId} ${spender.runId} ${spender.epoch} ${spender.tokenHash} ${request.requestHash}`;
}

/**
 * Remembers which answers did not reach their clients, so that only the repetition of such a call looks for a stored
 * answer, and an equal call that is made on purpose gets a new one. In memory only: what is forgotten is paid again.
 */
export function createUndelivered(maxCalls = MAX_CALLS): Undelivered {
  const calls = new Map<string, UndeliveredAnswer[]>();
  return {
    note(call, answer) {
      const key = keyOf(call);
      calls.set(key, [...(calls.get(key) ?? []), answer]);
      if (calls.size <= maxCalls) return;
      const oldest = calls.keys().next().value;
      if (oldest !== undefined) calls.delete(oldest);
    },
    take(call) {
      const key = keyOf(call);
      const [first, ...rest] = calls.get(key) ?? [];
      if (rest.length > 0) calls.set(key, rest);
      else calls.delete(key);
      return first;
    },
  };
}

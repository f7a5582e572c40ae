import type { LeaseAnswer, LeaseCall } from "./request-window.ts";

/** Two clocks may run apart by this share; a lease ends for its holder a little before it does for the database. */
const DRIFT = 0.0005;
/** How long a refusal is believed, so that a flood of refused requests asks the database once a second. */
const BELIEVE_REFUSAL_MS = 1_000;

/** What a request was told: whether it may go on, and what its workspace has left. Durations in milliseconds. */
export type RequestAdmission =
  | {
      status: "admitted";
      /** null without a limit. */
      quota: { limit: number; remaining: number; resetMs: number } | null;
    }
  | {
      status: "exhausted";
      limit: number;
      retryAfterMs: number;
      /** The refusal that is repeated: the minute of the database in which it was said, and which version of the limit did. */
      refusedIn: { minute: number; limitVersion: number };
    };

/** What one node has in hand for one workspace. No I/O: `ask` says what to send, `answered` takes what came back. */
export type RequestHolder = {
  /** Spends one request when there is one in hand, or repeats a refusal of this moment; undefined: ask. */
  take(nowMs: number): RequestAdmission | undefined;
  /** What to tell the authority. From here on nothing in hand is spent. */
  ask(wish: number): Pick<LeaseCall, "spent" | "wish">;
  /** The answer to what was sent at `sentAtMs`. Without one, what was in hand is lost until it is reported. */
  answered(answer: LeaseAnswer, sentAtMs: number): void;
  /** Whether something was given and not used, and its minute is over. */
  isOverdue(nowMs: number): boolean;
  /** Whether there is something that the authority does not know. */
  isOpen(): boolean;
};

type InHand = {
  minute: number;
  left: number;
  deadlineMs: number;
  limit: number | null;
  leftToLease: number | null;
  resetsAtMs: number;
};

export function createRequestHolder(): RequestHolder {
  let inHand: InHand | undefined;
  let refused:
    | {
        limit: number;
        untilMs: number;
        retryAtMs: number;
        refusedIn: { minute: number; limitVersion: number };
      }
    | undefined;
  /** Requests spent by minute, until the authority was told. */
  const spent = new Map<number, number>();
  /** Something was asked for, and it is not known what was given. */
  let unknown = false;

  function spend(hand: InHand, nowMs: number): RequestAdmission {
    hand.left--;
    spent.set(hand.minute, (spent.get(hand.minute) ?? 0) + 1);
    if (hand.limit === null || hand.leftToLease === null)
      return { status: "admitted", quota: null };
    const remaining = hand.leftToLease + hand.left;
    const resetMs = Math.max(0, hand.resetsAtMs - nowMs);
    return { status: "admitted", quota: { limit: hand.limit, remaining, resetMs } };
  }

  return {
    take(nowMs) {
      if (inHand && inHand.left > 0 && nowMs < inHand.deadlineMs) return spend(inHand, nowMs);
      if (refused && nowMs < refused.untilMs)
        return {
          status: "exhausted",
          limit: refused.limit,
          retryAfterMs: Math.max(0, refused.retryAtMs - nowMs),
          refusedIn: refused.refusedIn,
        };
      return undefined;
    },
    ask(wish) {
      inHand = undefined;
      refused = undefined;
      unknown = true;
      return { wish, spent: [...spent].map(([minute, count]) => ({ minute, spent: count })) };
    },
    answered(answer, sentAtMs) {
      unknown = false;
      if (answer.status === "stale") return;
      for (const minute of spent.keys())
        // More may be given in the present minute, and is told of together with what was spent in it.
        if (minute !== answer.minute) spent.delete(minute);
      if (answer.status === "exhausted")
        refused = {
          limit: answer.limit,
          untilMs: sentAtMs + Math.min(BELIEVE_REFUSAL_MS, answer.retryAfterMs),
          retryAtMs: sentAtMs + answer.retryAfterMs,
          refusedIn: { minute: answer.minute, limitVersion: answer.limitVersion },
        };
      if (answer.status === "granted")
        inHand = {
          minute: answer.minute,
          left: answer.granted,
          // From before the question was sent: never later than the end that the authority means.
          deadlineMs: sentAtMs + answer.validMs * (1 - DRIFT),
          limit: answer.limit,
          leftToLease: answer.left,
          resetsAtMs: sentAtMs + answer.resetsMs,
        };
    },
    isOverdue: (nowMs) =>
      unknown || (inHand !== undefined && inHand.left > 0 && nowMs >= inHand.deadlineMs),
    isOpen: () => unknown || (inHand !== undefined && inHand.left > 0),
  };
}

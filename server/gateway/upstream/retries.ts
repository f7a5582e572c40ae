/** Decides whether a failed attempt is tried again, and when. */
export type Retries = {
  /** A call begins: it earns a part of a retry. */
  callStarted(): void;
  /** Milliseconds until the next attempt; undefined when there is none. */
  next(failed: { attemptNo: number; retryAfterMs: number | undefined }): number | undefined;
};

const MAX_ATTEMPTS = 4;
const FIRST_BACKOFF_MS = 250;
const LAST_BACKOFF_MS = 4_000;
/** A provider that asks for a longer pause gets it from the client, which is told. */
const LONGEST_PAUSE_MS = 10_000;
/** Retries are a tenth of the calls in the long run, so that an outage is not multiplied; a few are always there. */
const EARNED_PER_CALL = 0.1;
const MOST_SAVED = 20;

/** `random` gives numbers from 0 up to 1. */
export function createRetries(random: () => number = Math.random): Retries {
  let saved = MOST_SAVED;

  return {
    callStarted() {
      saved = Math.min(MOST_SAVED, saved + EARNED_PER_CALL);
    },
    next({ attemptNo, retryAfterMs }) {
      if (attemptNo >= MAX_ATTEMPTS || saved < 1) return undefined;
      if (retryAfterMs !== undefined && retryAfterMs > LONGEST_PAUSE_MS) return undefined;
      saved -= 1;
      const backoff = Math.min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attemptNo - 1));
      // Not below what was asked for, and never in step with others.
      return (retryAfterMs ?? backoff / 2) + (random() * backoff) / 2;
    },
  };
}

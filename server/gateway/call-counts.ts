/** What has happened since this gateway was started: plain numbers, so that counting costs a call nothing. */
export type CallCounts = {
  /** Answers to the question whether a call may start. */
  admissions: Record<
    "held" | "reserved" | "exhausted" | "stale" | "suspended" | "call_limit",
    number
  >;
  /** How upstream attempts ended: charged by their usage, not billed at all, or charged as held. */
  attempts: Record<"settled" | "unbilled" | "unknown", number>;
  /** What clients were refused with, by status and code (`402 budget_exhausted`); codes are a closed catalogue. */
  refusals: Map<string, number>;
  /** What the provider charged beyond holds. */
  overrunNanoUsd: number;
};

export function createCallCounts(): CallCounts {
  return {
    admissions: { held: 0, reserved: 0, exhausted: 0, stale: 0, suspended: 0, call_limit: 0 },
    attempts: { settled: 0, unbilled: 0, unknown: 0 },
    refusals: new Map(),
    overrunNanoUsd: 0,
  };
}

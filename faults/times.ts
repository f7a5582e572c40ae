/** `FAULT_TIMES=default` plays the cases with the leases and pauses that an installation has, which takes far longer. */
const hasDefaultTimes = process.env["FAULT_TIMES"] === "default";

/** Leases and pauses a few times shorter than the defaults, so that a case takes seconds. Milliseconds. */
const SHORT_TIMES = {
  LEASE_MS: "4000",
  HEARTBEAT_MS: "800",
  LEASE_GRACE_MS: "300",
  RETRY_BACKOFF_MS: "300",
  POLL_MS: "300",
  DRAIN_MS: "5000",
  RECONCILE_EVERY_MS: "1000",
};

/** Settings of all processes of the suite. */
export const TIMES: Readonly<Record<string, string>> = {
  // All load comes from one address.
  RATE_LIMITS: "create_task=off, change=off, user=off, address=off",
  ...(hasDefaultTimes ? {} : SHORT_TIMES),
};

/** These where times are short; otherwise the defaults. */
export const unlessDefault = (
  short: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> => (hasDefaultTimes ? {} : short);

/** What is waited for comes sooner by far; so long only on a machine that has much else to do. Milliseconds. */
export const PATIENCE_MS = hasDefaultTimes ? 240_000 : 60_000;

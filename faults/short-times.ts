/** Leases and pauses a few times shorter than the defaults, so that a case takes seconds. Milliseconds. */
export const SHORT_TIMES = {
  LEASE_MS: "4000",
  HEARTBEAT_MS: "800",
  LEASE_GRACE_MS: "300",
  RETRY_BACKOFF_MS: "300",
  POLL_MS: "300",
  DRAIN_MS: "5000",
  RECONCILE_EVERY_MS: "1000",
  // All load comes from one address.
  RATE_LIMITS: "create_task=off, change=off, user=off, address=off",
};

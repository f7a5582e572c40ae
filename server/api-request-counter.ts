import type { RequestCounter } from "./identity/guard.ts";
import type { RequestLeases } from "./ledger/request-leases.ts";
import { AppError } from "./platform/errors.ts";
import { addRateLimit } from "./platform/rate-limit-headers.ts";

const POLICY = "api_requests";
const WINDOW_MS = 3_600_000;

function exhausted(limit: number, retryAfterMs: number): AppError {
  return new AppError({
    code: "api_requests_exhausted",
    status: 429,
    publicMessage: `The workspace has used its ${limit} API requests of the last 60 minutes.`,
    hint: "Wait as long as Retry-After says, or ask an owner of the workspace for a larger plan. The page is not counted.",
    retryable: true,
    retryAfterMs,
    extensions: { meter: POLICY, limit, "violated-policies": [POLICY] },
  });
}

/**
 * Counts what comes with an API key, the command line included, against the workspace's limit; a refused request counts
 * for nothing. The page's own requests have other limits.
 */
export function createApiRequestCounter(leases: Pick<RequestLeases, "take">): RequestCounter {
  return async (principal, reply) => {
    if (principal.kind !== "api_key") return;
    const admission = await leases.take(principal.workspaceId);
    if (admission.status === "exhausted") {
      const { limit: quota, retryAfterMs: resetMs } = admission;
      addRateLimit(reply, { policy: POLICY, quota, windowMs: WINDOW_MS, remaining: 0, resetMs });
      throw exhausted(quota, resetMs);
    }
    if (admission.quota === null) return;
    const { limit: quota, remaining, resetMs } = admission.quota;
    addRateLimit(reply, { policy: POLICY, quota, windowMs: WINDOW_MS, remaining, resetMs });
  };
}

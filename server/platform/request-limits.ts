import type { IncomingMessage } from "node:http";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { createClientAddress } from "./client-address.ts";
import type { Config } from "./config.ts";
import { AppError } from "./errors.ts";
import type { QuotaState } from "./rate-limit-headers.ts";
import { ratePolicies, type RatePolicyName } from "./rate-policies.ts";
import { sha256Hex } from "./secret.ts";

/** A request that was counted, or was refused; undefined: the operator turned this limit off. */
export type Taken = { allowed: boolean; state: QuotaState } | undefined;

export type RequestLimits = {
  /** Canonical address of the client, past trusted proxies. */
  addressOf(request: IncomingMessage): string;
  /** Counts a request. A refused one changes nothing of when the next one may come. */
  take(policy: RatePolicyName, key: string): Promise<Taken>;
  /** Takes a counted request back, because it was refused for another reason. */
  giveBack(policy: RatePolicyName, key: string): Promise<void>;
  /** Where a limit stands, without counting. */
  look(policy: RatePolicyName, key: string): Promise<Taken>;
  /** Remembers a credential that was accepted; it is told apart from those that are tried. */
  accepted(credential: string): void;
  wasAccepted(credential: string): boolean;
};

const MAX_KNOWN = 10_000;

function stateOf(limiter: RateLimiterMemory, policy: string, result: RateLimiterRes): QuotaState {
  return {
    policy,
    quota: limiter.points,
    windowMs: limiter.duration * 1_000,
    remaining: Math.max(0, result.remainingPoints),
    resetMs: Math.max(0, result.msBeforeNext),
  };
}

/** Hashes of the credentials that were last accepted; the oldest go first. */
function createKnownCredentials() {
  const known = new Set<string>();
  return {
    add(credential: string): void {
      const hash = sha256Hex(credential);
      known.delete(hash);
      known.add(hash);
      if (known.size <= MAX_KNOWN) return;
      const [oldest] = known;
      if (oldest !== undefined) known.delete(oldest);
    },
    has: (credential: string): boolean => known.has(sha256Hex(credential)),
  };
}

/** The named limits of this process, in windows of fixed length, each beginning with the first request of its key. */
export function createRequestLimits(
  config: Partial<Pick<Config, "RATE_LIMITS" | "TRUSTED_PROXIES">>,
): RequestLimits {
  const limiters = new Map<RatePolicyName, RateLimiterMemory>();
  for (const [name, policy] of Object.entries(ratePolicies(config.RATE_LIMITS ?? "")))
    if (policy !== null)
      limiters.set(
        name as RatePolicyName,
        new RateLimiterMemory({ points: policy.requests, duration: policy.windowS }),
      );
  const known = createKnownCredentials();

  return {
    addressOf: createClientAddress(config.TRUSTED_PROXIES ?? ""),
    async take(policy, key) {
      const limiter = limiters.get(policy);
      if (!limiter) return undefined;
      try {
        return { allowed: true, state: stateOf(limiter, policy, await limiter.consume(key)) };
      } catch (refused) {
        if (!(refused instanceof RateLimiterRes)) throw refused;
        return { allowed: false, state: stateOf(limiter, policy, refused) };
      }
    },
    async giveBack(policy, key) {
      await limiters.get(policy)?.reward(key);
    },
    async look(policy, key) {
      const limiter = limiters.get(policy);
      const result = await limiter?.get(key);
      if (!limiter || !result) return undefined;
      const allowed = result.consumedPoints < limiter.points;
      return { allowed, state: stateOf(limiter, policy, result) };
    },
    accepted: known.add,
    wasAccepted: known.has,
  };
}

/** How long to wait, at least a second. */
export const waitOf = ({ resetMs }: QuotaState): number => Math.max(1_000, resetMs ?? 1_000);

/** "600 in 60 s". */
export const ruleOf = ({ quota, windowMs }: QuotaState): string =>
  `${quota} in ${windowMs / 1_000} s`;

/** 429 `rate_limited`: which limit, and when to come back. */
export function rateLimited(state: QuotaState): AppError {
  const waitMs = waitOf(state);
  return new AppError({
    code: "rate_limited",
    status: 429,
    publicMessage: `These are more requests than the limit ${state.policy} allows: ${ruleOf(state)}.`,
    hint: `Wait ${Math.ceil(waitMs / 1_000)} s. The operator of this installation can change the limit.`,
    retryable: true,
    retryAfterMs: waitMs,
    extensions: { "violated-policies": [state.policy] },
  });
}

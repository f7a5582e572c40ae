import type { IncomingMessage } from "node:http";
import { createClientAddress } from "./client-address.ts";
import type { Config } from "./config.ts";
import { AppError } from "./errors.ts";
import type { QuotaState } from "./rate-limit-headers.ts";
import { ratePolicies, type RatePolicyName } from "./rate-policies.ts";
import { sha256Hex } from "./secret.ts";
import { createWindowCounter, type WindowCount, type WindowCounter } from "./window-counter.ts";

/** A request that was counted, or was refused; undefined: the operator turned this limit off. */
export type Taken = { allowed: boolean; state: QuotaState } | undefined;

export type RequestLimits = {
  /** Canonical address of the client, past trusted proxies. */
  addressOf(request: IncomingMessage): string;
  /** Counts a request. A refused one changes nothing of when the next one may come. */
  take(policy: RatePolicyName, key: string): Taken;
  /** Takes a counted request back, because it was refused for another reason. */
  giveBack(policy: RatePolicyName, key: string): void;
  /** Where a limit stands, without counting. */
  look(policy: RatePolicyName, key: string): Taken;
  /** Remembers a credential that was accepted; it is told apart from those that are tried. */
  accepted(credential: string): void;
  wasAccepted(credential: string): boolean;
};

const MAX_KNOWN = 10_000;
/** Addresses or users that one policy counts at once: some 3 MB each, and no more whoever sends from however many addresses. */
const MOST_KEYS = 20_000;

type Limiter = { counter: WindowCounter; quota: number; windowMs: number };

const stateOf = (
  policy: string,
  limiter: Limiter,
  { count, resetMs }: WindowCount,
): QuotaState => ({
  policy,
  quota: limiter.quota,
  windowMs: limiter.windowMs,
  remaining: Math.max(0, limiter.quota - count),
  resetMs,
});

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
  const limiters = new Map<string, Limiter>();
  for (const [name, policy] of Object.entries(ratePolicies(config.RATE_LIMITS ?? ""))) {
    if (policy === null) continue;
    const windowMs = policy.windowS * 1_000;
    const counter = createWindowCounter({
      windowMs,
      mostKeys: MOST_KEYS,
      monotonicMs: () => performance.now(),
    });
    limiters.set(name, { counter, quota: policy.requests, windowMs });
  }
  const known = createKnownCredentials();

  return {
    addressOf: createClientAddress(config.TRUSTED_PROXIES ?? ""),
    take(policy, key) {
      const limiter = limiters.get(policy);
      if (!limiter) return undefined;
      const counted = limiter.counter.add(key);
      const allowed = counted.count <= limiter.quota;
      return { allowed, state: stateOf(policy, limiter, counted) };
    },
    giveBack(policy, key) {
      limiters.get(policy)?.counter.subtract(key);
    },
    look(policy, key) {
      const limiter = limiters.get(policy);
      const counted = limiter?.counter.look(key);
      if (!limiter || !counted) return undefined;
      return { allowed: counted.count < limiter.quota, state: stateOf(policy, limiter, counted) };
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

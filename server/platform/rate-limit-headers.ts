import type { FastifyReply } from "fastify";
import { invariant } from "./errors.ts";

/**
 * What a client has left of one policy that its request was counted by, for the fields of
 * draft-ietf-httpapi-ratelimit-headers (revision 10): `RateLimit-Policy` tells the rule, `RateLimit` the state.
 */
export type QuotaState = {
  /** Stable name of the policy, for example `api_requests`. */
  policy: string;
  /** How many requests in any window. */
  quota: number;
  windowMs: number;
  remaining: number;
  /** When more will be there; left out when nothing is used. */
  resetMs?: number;
};

const NAME = /^[a-z][a-z0-9_]*$/;
const seconds = (ms: number): number => Math.max(0, Math.ceil(ms / 1_000));

/** Both fields: each a list with one item per policy (RFC 9651). */
export function rateLimitFields(states: readonly QuotaState[]): {
  "ratelimit-policy": string;
  ratelimit: string;
} {
  for (const { policy } of states) invariant(NAME.test(policy), `${policy} names a policy`);
  return {
    "ratelimit-policy": states
      .map(({ policy, quota, windowMs }) => `"${policy}";q=${quota};w=${seconds(windowMs)}`)
      .join(", "),
    ratelimit: states
      .map(({ policy, remaining, resetMs }) => {
        const reset = resetMs === undefined ? "" : `;t=${seconds(resetMs)}`;
        return `"${policy}";r=${Math.max(0, remaining)}${reset}`;
      })
      .join(", "),
  };
}

/** Adds a policy to those that the answer already tells of. What an answer has, its refusal has, too. */
export function addRateLimit(reply: FastifyReply, state: QuotaState): void {
  for (const [name, value] of Object.entries(rateLimitFields([state]))) {
    const before = reply.getHeader(name);
    void reply.header(name, before === undefined ? value : `${String(before)}, ${value}`);
  }
}

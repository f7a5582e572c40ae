import type { FastifyReply, FastifyRequest } from "fastify";
import { addressKey } from "../platform/client-address.ts";
import type { Http } from "../platform/http.ts";
import { addRateLimit } from "../platform/rate-limit-headers.ts";
import type { RatePolicyName } from "../platform/rate-policies.ts";
import { rateLimited, type RequestLimits, type Taken } from "../platform/request-limits.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The route's own limit, beside those of all routes: per address when it is public, else per user or key. */
    policy?: RatePolicyName;
  }
  interface FastifyRequest {
    /** Canonical address of the client, past trusted proxies. */
    clientAddress: string;
  }
}

/** Refuses with 429. What is refused counts for the flood of the address; above that its connection ends, too. */
async function refuse(
  limits: RequestLimits,
  at: { request: FastifyRequest; reply: FastifyReply; taken: NonNullable<Taken> },
): Promise<never> {
  const { request, reply, taken } = at;
  const flood = limits.take("flood", addressKey(request.clientAddress));
  if (flood?.allowed === false) void reply.header("connection", "close");
  addRateLimit(reply, taken.state);
  throw rateLimited(taken.state);
}

/** The whole header, whatever its scheme: it is only compared with those that were accepted. */
const credentialOf = (request: FastifyRequest): string => request.headers.authorization ?? "";

/**
 * Limits what comes from one address, before a credential is looked at. Who is at an address from which others try
 * credentials is not shut out: a credential that has just worked passes. Register before `guardRoutes`.
 */
export function limitAddresses(app: Http, limits: RequestLimits): void {
  app.decorateRequest("clientAddress", "");
  app.addHook("onRequest", async (request, reply) => {
    request.clientAddress = limits.addressOf(request.raw);
    const { access, policy, unlimited } = request.routeOptions.config;
    if (unlimited) return;
    const key = addressKey(request.clientAddress);
    const flood = limits.look("flood", key);
    if (flood?.allowed === false) await refuse(limits, { request, reply, taken: flood });
    const failed = limits.look("failed_credential", key);
    if (failed?.allowed === false && !limits.wasAccepted(credentialOf(request)))
      await refuse(limits, { request, reply, taken: failed });
    const taken = limits.take("address", key);
    if (taken?.allowed === false) await refuse(limits, { request, reply, taken });
    if (access !== "public" || policy === undefined) return;
    const own = limits.take(policy, key);
    if (own?.allowed === false) await refuse(limits, { request, reply, taken: own });
  });
  // Before the answer leaves: who tries one credential after the other is counted each time.
  app.addHook("onSend", async (request, reply) => {
    if (reply.statusCode === 401)
      limits.take("failed_credential", addressKey(request.clientAddress));
  });
}

function policiesOf(request: FastifyRequest): RatePolicyName[] {
  const { policy } = request.routeOptions.config;
  const reads = request.method === "GET" || request.method === "HEAD";
  return ["user", ...(reads ? [] : (["change"] as const)), ...(policy ? [policy] : [])];
}

/**
 * Limits what one user or API key asks for, per endpoint and in all; every answer tells in `RateLimit` what is left.
 * Register after `guardRoutes`.
 */
export function limitPrincipals(app: Http, limits: RequestLimits): void {
  app.addHook("onRequest", async (request, reply) => {
    const { principal } = request;
    if (principal === null) return;
    limits.accepted(credentialOf(request));
    const counted: RatePolicyName[] = [];
    for (const policy of policiesOf(request)) {
      const taken = limits.take(policy, principal.actor);
      if (taken?.allowed === false) {
        // What is refused by one limit does not use up another.
        for (const earlier of counted) limits.giveBack(earlier, principal.actor);
        await refuse(limits, { request, reply, taken });
      }
      if (taken) addRateLimit(reply, taken.state);
      counted.push(policy);
    }
  });
}

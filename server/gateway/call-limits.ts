import type { IncomingMessage } from "node:http";
import { addressKey } from "../platform/client-address.ts";
import type { AppError } from "../platform/errors.ts";
import { type QuotaState, rateLimitFields } from "../platform/rate-limit-headers.ts";
import { type RequestLimits, ruleOf, type Taken, waitOf } from "../platform/request-limits.ts";
import type { Client } from "./client.ts";
import { gatewayError } from "./errors.ts";

export type CallLimits = {
  /** Before a token is looked at; `key` is what names it (its hash), undefined when there is none. An error: no further. */
  check(request: IncomingMessage, key: string | undefined): Promise<Refused | undefined>;
  /** The same client, which counts refused tokens for their address and remembers accepted ones. */
  watch(request: IncomingMessage, key: string, client: Client): Client;
  /** A call without any token that could be valid. */
  failed(request: IncomingMessage): Promise<void>;
};

/** `headers`: where the limit stands, and whether the connection is worth keeping. */
export type Refused = { error: AppError; headers: Readonly<Record<string, string>> };

/** Codes of a token that is not valid (any more), whoever sent it. */
const TOKEN_REFUSED = new Set(["run_token_required", "run_not_active", "api_key_invalid"]);

function tooMany(state: QuotaState): AppError {
  return gatewayError({
    status: 429,
    code: "rate_limited",
    message: `These are more calls than the limit ${state.policy} allows: ${ruleOf(state)}.`,
    details: { policy: state.policy },
    retryAfterMs: waitOf(state),
  });
}

const refusesToken = (error: unknown): boolean =>
  error instanceof Error && "code" in error && TOKEN_REFUSED.has(String(error.code));

/**
 * Limits calls before anything of them costs the database: those of one token, and those of an address that sends tokens
 * which are refused. Many runs share an address, so a token that has just worked passes whatever others there try.
 */
export function createCallLimits(limits: RequestLimits): CallLimits {
  const keyOf = (request: IncomingMessage): string => addressKey(limits.addressOf(request));

  async function refuse(request: IncomingMessage, taken: NonNullable<Taken>): Promise<Refused> {
    const flood = limits.take("gateway_flood", keyOf(request));
    const headers = {
      ...rateLimitFields([taken.state]),
      ...(flood?.allowed === false ? { connection: "close" } : {}),
    };
    return { error: tooMany(taken.state), headers };
  }

  async function failed(request: IncomingMessage): Promise<void> {
    limits.take("gateway_failed", keyOf(request));
  }

  return {
    async check(request, key) {
      const known = key !== undefined && limits.wasAccepted(key);
      if (!known) {
        for (const policy of ["gateway_flood", "gateway_failed"] as const) {
          const looked = limits.look(policy, keyOf(request));
          if (looked?.allowed === false) return refuse(request, looked);
        }
      }
      if (key === undefined) return undefined;
      const taken = limits.take("gateway_token", key);
      return taken?.allowed === false ? refuse(request, taken) : undefined;
    },
    watch: (request, key, client) => ({
      ...client,
      begin(status, headers) {
        limits.accepted(key);
        client.begin(status, headers);
      },
      fail(error, headers) {
        client.fail(error, headers);
        // Counted after the answer: it waits for nothing, and the count is there before the next call can be.
        if (refusesToken(error)) void failed(request);
      },
    }),
    failed,
  };
}

import type { Spender } from "../ledger/calls.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { AppError } from "../platform/errors.ts";
import type { Client } from "./client.ts";
import { gatewayError, runNotActive } from "./errors.ts";
import { brokeOff, readProviderError, unreachable } from "./upstream/provider-error.ts";
import { createRecent } from "./budget/recent.ts";
import type { CountBody } from "./request/request-schema.ts";
import type { PricedRequest } from "./request/request.ts";
import { spenderId } from "./spender.ts";
import type { Upstream } from "./upstream/upstream.ts";

export type TokenCounterDeps = {
  ledger: Pick<Ledger, "isRunActive">;
  upstream: Upstream;
  shutdown: AbortSignal;
  timeoutMs: number;
};

/** Asks the provider how many input tokens a request has. */
export type TokenCounter = (ask: {
  spender: Spender;
  request: PricedRequest<CountBody>;
  gone: AbortSignal;
}) => Promise<Counted>;

export type CountTokensCall = {
  spender: Spender;
  request: PricedRequest<CountBody>;
  client: Client;
  requestId: string;
};

/** Counting costs nothing, but the provider limits it for the whole installation: no run and no key may use it all up. */
const PER_MINUTE = 120;
const MAX_ANSWERS = 2_000;
const MAX_SPENDERS = 10_000;
const MAX_ANSWER_BYTES = 64 * 1024;

export type Counted =
  | { status: "counted"; inputTokens: number }
  | { status: "failed"; error: AppError };

/** A bucket per run or API key that fills at `PER_MINUTE`. */
function createRate() {
  const buckets = createRecent<{ left: number; atMs: number }>(MAX_SPENDERS);
  return function take(id: string): boolean {
    const nowMs = performance.now();
    const before = buckets.get(id) ?? { left: PER_MINUTE, atMs: nowMs };
    const earned = ((nowMs - before.atMs) / 60_000) * PER_MINUTE;
    const left = Math.min(PER_MINUTE, before.left + earned);
    buckets.set(id, { left: left >= 1 ? left - 1 : left, atMs: nowMs });
    return left >= 1;
  };
}

function inputTokensIn(text: string): number | undefined {
  try {
    const body: unknown = JSON.parse(text);
    const count =
      body !== null && typeof body === "object" && "input_tokens" in body
        ? body.input_tokens
        : undefined;
    return typeof count === "number" && Number.isSafeInteger(count) && count >= 0
      ? count
      : undefined;
  } catch {
    return undefined;
  }
}

/** Counts for live runs and valid keys only, at a limited rate, and equal prompts of a workspace from memory. */
export function createTokenCounter(deps: TokenCounterDeps): TokenCounter {
  const answers = createRecent<number>(MAX_ANSWERS);
  const takeRate = createRate();

  async function ask(request: PricedRequest<CountBody>, gone: AbortSignal): Promise<Counted> {
    const timeout = AbortSignal.timeout(deps.timeoutMs);
    const signal = AbortSignal.any([timeout, gone, deps.shutdown]);
    const answer = await deps.upstream.send({
      path: "/v1/messages/count_tokens",
      body: request.serialiseForCount(),
      version: request.version,
      betas: request.betas,
      signal,
    });
    if (answer.status !== "answered") return { status: "failed", error: unreachable(answer.cause) };
    let text = "";
    try {
      for (;;) {
        const chunk = await answer.body.next();
        if (chunk === undefined) break;
        if (text.length < MAX_ANSWER_BYTES) text += chunk.toString("utf8");
      }
    } catch (cause) {
      return { status: "failed", error: unreachable(cause) };
    }
    if (answer.statusCode !== 200)
      return {
        status: "failed",
        error: readProviderError({ ...answer, text: deps.upstream.withoutKey(text) }).error,
      };
    const inputTokens = inputTokensIn(text);
    return inputTokens === undefined
      ? { status: "failed", error: brokeOff(undefined) }
      : { status: "counted", inputTokens };
  }

  return async function count({ spender, request, gone }) {
    const { workspaceId } = spender;
    if (spender.kind === "run" && !(await deps.ledger.isRunActive(spender)))
      return { status: "failed", error: runNotActive() };
    const key = `${workspaceId} ${request.requestHash}`;
    const known = answers.get(key);
    if (known !== undefined) return { status: "counted", inputTokens: known };
    if (!takeRate(spenderId(spender)))
      return {
        status: "failed",
        error: gatewayError({
          status: 429,
          code: "count_tokens_limited",
          message: `A run or an API key may count tokens ${PER_MINUTE} times a minute.`,
          retryAfterMs: 60_000 / PER_MINUTE,
        }),
      };
    const counted = await ask(request, gone);
    if (counted.status === "counted") answers.set(key, counted.inputTokens);
    return counted;
  };
}

/** Serves `POST /v1/messages/count_tokens`. */
export async function serveCountTokens(
  counter: TokenCounter,
  call: CountTokensCall,
): Promise<void> {
  const { spender, request, client } = call;
  const counted = await counter({ spender, request, gone: client.gone });
  if (counted.status === "failed") return client.fail(counted.error);
  const body = Buffer.from(JSON.stringify({ input_tokens: counted.inputTokens }));
  client.begin(200, {
    "request-id": call.requestId,
    "content-type": "application/json",
    "content-length": String(body.length),
    ...(request.dropped.length === 0 ? {} : { "guildhall-dropped": request.dropped.join(",") }),
  });
  client.end([body]);
}

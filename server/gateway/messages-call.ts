import { setTimeout as delay } from "node:timers/promises";
import { faultPoint } from "../platform/fault-points.ts";
import type { Logger } from "../platform/log.ts";
import type { Admit } from "./budget/admission.ts";
import { runAttempt, type AttemptDeps } from "./upstream/attempt.ts";
import type { Hold } from "./budget/charges.ts";
import type { ExactTokens } from "./budget/exact-hold.ts";
import type { ModelFreeze } from "./budget/model-freeze.ts";
import type { MessagesCall } from "./call.ts";
import { droppedHeader, replay, watchDelivery, type ReplayDeps } from "./replay.ts";
import type { Retries } from "./upstream/retries.ts";

export type MessagesCallDeps = AttemptDeps &
  ReplayDeps & {
    admit: Admit;
    retries: Retries;
    freeze: ModelFreeze;
    log: Logger;
    /** In exact mode only. */
    exactTokens: ExactTokens | undefined;
  };

function holdHeaders(call: MessagesCall, hold: Hold): Record<string, string> {
  const { request } = call;
  return {
    "request-id": call.requestId,
    "guildhall-hold-id": hold.id,
    "guildhall-held-nano-usd": String(hold.amountNanoUsd),
    "guildhall-max-tokens": String(hold.maxTokens),
    ...(hold.maxTokens < request.body.max_tokens ? { "guildhall-clamped": "true" } : {}),
    ...droppedHeader(request),
  };
}

async function pause(ms: number, signals: AbortSignal): Promise<void> {
  // The end of the pause is what matters, not whether it was cut short.
  await delay(ms, undefined, { signal: signals }).catch(() => {});
}

/**
 * One call of `POST /v1/messages` from admission to the client's last byte. Each upstream attempt has its own hold;
 * what failed without being billed is tried again, as long as the client is there.
 */
export async function serveMessagesCall(deps: MessagesCallDeps, call: MessagesCall): Promise<void> {
  const { spender, request, client } = call;
  const frozen = deps.freeze.check(request);
  if (frozen !== undefined) return client.fail(frozen, droppedHeader(request));
  if (await replay(deps, call)) return;
  deps.retries.callStarted();
  let both: AbortSignal | undefined;
  // Made when it is needed: most calls wait for nothing that they would have to be called away from.
  const stopped = (): AbortSignal => (both ??= AbortSignal.any([client.gone, deps.shutdown]));
  const exactTokens = await deps.exactTokens?.({ spender, request, gone: stopped() });
  let callNo: number | undefined;
  for (let attemptNo = 1; ; attemptNo++) {
    const admission = await deps.admit({
      spender,
      request,
      exactTokens,
      callNo,
      attemptNo,
      gone: stopped,
    });
    if (admission.status === "refused") return client.fail(admission.error, droppedHeader(request));
    const { hold } = admission;
    callNo = hold.callNo ?? undefined;
    faultPoint("gateway.held");
    const headers = holdHeaders(call, hold);
    const attempt = runAttempt(deps, { request, hold, client, headers });
    const ended = attempt.catch(() => {});
    const delivery = watchDelivery(deps, call, { holdId: hold.id, ended });
    const end = await attempt;
    if (end.status === "withheld") delivery.missed();
    if (end.status !== "failed") return;
    delivery.stop();
    const waitMs = end.retryable
      ? deps.retries.next({ attemptNo, retryAfterMs: end.retryAfterMs })
      : undefined;
    deps.log.info(
      { err: end.error, hold_id: hold.id, attempt_no: attemptNo, retry_in_ms: waitMs },
      "an attempt failed",
    );
    if (waitMs === undefined) return client.fail(end.error, headers);
    await pause(waitMs, stopped());
    if (stopped().aborted) return client.fail(end.error, headers);
  }
}

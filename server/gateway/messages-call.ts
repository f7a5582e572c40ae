import { setTimeout as delay } from "node:timers/promises";
import type { Ledger } from "../ledger/ledger.ts";
import { faultPoint } from "../platform/fault-points.ts";
import type { Logger } from "../platform/log.ts";
import type { RunToken } from "../platform/run-token.ts";
import type { Admit } from "./budget/admission.ts";
import { runAttempt, type AttemptDeps } from "./upstream/attempt.ts";
import type { Hold } from "./budget/charges.ts";
import type { Client } from "./client.ts";
import type { JournalCipher } from "./budget/journal.ts";
import type { ModelFreeze } from "./budget/model-freeze.ts";
import type { MessagesRequest } from "./request/request.ts";
import type { Retries } from "./upstream/retries.ts";

export type MessagesCallDeps = AttemptDeps & {
  ledger: Pick<Ledger, "takeJournal">;
  admit: Admit;
  retries: Retries;
  freeze: ModelFreeze;
  cipher: JournalCipher;
  log: Logger;
};

export type MessagesCall = {
  token: RunToken;
  request: MessagesRequest;
  client: Client;
  requestId: string;
};

function droppedHeader(request: MessagesRequest): Record<string, string> {
  return request.dropped.length === 0 ? {} : { "guildhall-dropped": request.dropped.join(",") };
}

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

/** Answers from the journal, when an earlier attempt of this run has paid for the same call. -> false: it has not */
async function replay(deps: MessagesCallDeps, call: MessagesCall): Promise<boolean> {
  const { token, request, client } = call;
  // A run's first attempt has nothing to repeat.
  if (token.epoch <= 1) return false;
  const { workspaceId, runId, epoch, secretHash } = token;
  const { requestHash } = request;
  const taken = await deps.ledger.takeJournal({
    workspaceId,
    runId,
    epoch,
    tokenHash: secretHash,
    requestHash,
  });
  if (taken === undefined) return false;
  const stored = deps.cipher.open(taken.body, { workspaceId, runId, requestHash });
  if (stored === undefined) {
    deps.log.warn(
      { hold_id: taken.holdId, run_id: runId },
      "a stored answer could not be opened; the call is made and paid again",
    );
    return false;
  }
  client.begin(200, {
    "request-id": call.requestId,
    "content-type": stored.contentType,
    "guildhall-hold-id": taken.holdId,
    "guildhall-replayed": "true",
    ...droppedHeader(request),
    ...(stored.contentType.startsWith("text/event-stream")
      ? { "cache-control": "no-cache" }
      : { "content-length": String(stored.body.length) }),
  });
  await client.write([stored.body]);
  client.end();
  return true;
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
  const { token, request, client } = call;
  const frozen = deps.freeze.check(request);
  if (frozen !== undefined) return client.fail(frozen, droppedHeader(request));
  if (await replay(deps, call)) return;
  deps.retries.callStarted();
  const ended = AbortSignal.any([client.gone, deps.shutdown]);
  let callNo: number | undefined;
  for (let attemptNo = 1; ; attemptNo++) {
    const admission = await deps.admit({ token, request, callNo, attemptNo, gone: ended });
    if (admission.status === "refused") return client.fail(admission.error, droppedHeader(request));
    const { hold } = admission;
    callNo = hold.callNo;
    faultPoint("gateway.held");
    const headers = holdHeaders(call, hold);
    const end = await runAttempt(deps, { request, hold, client, headers });
    if (end.status === "answered") return;
    const waitMs = end.retryable
      ? deps.retries.next({ attemptNo, retryAfterMs: end.retryAfterMs })
      : undefined;
    deps.log.info(
      { err: end.error, hold_id: hold.id, attempt_no: attemptNo, retry_in_ms: waitMs },
      "an attempt failed",
    );
    if (waitMs === undefined) return client.fail(end.error, headers);
    await pause(waitMs, ended);
    if (ended.aborted) return client.fail(end.error, headers);
  }
}

import { setTimeout as delay } from "node:timers/promises";
import type { Ledger } from "../ledger/ledger.ts";
import type { Logger } from "../platform/log.ts";
import type { AnswersElsewhere } from "./answers-elsewhere.ts";
import type { JournalCipher } from "./budget/journal.ts";
import type { Settlements } from "./budget/settlements.ts";
import type { Undelivered, UndeliveredAnswer } from "./budget/undelivered.ts";
import { type MessagesCall, type RunCall, type Taken, takeStored } from "./call.ts";
import type { MessagesRequest } from "./request/request.ts";
import { brokeOff, callInProgress, chargeNotDurable } from "./upstream/provider-error.ts";

export type ReplayDeps = {
  ledger: Pick<Ledger, "takeJournal" | "markUndelivered">;
  cipher: JournalCipher;
  undelivered: Undelivered;
  settlements: Pick<Settlements, "ended">;
  log: Logger;
  shutdown: AbortSignal;
  /** How long a repeated call waits for the charge of the answer that it repeats. */
  settleWaitMs: number;
  /** Waits for answers to the same call that come elsewhere. */
  answersElsewhere: AnswersElsewhere;
};

export function droppedHeader(request: MessagesRequest): Record<string, string> {
  return request.dropped.length === 0 ? {} : { "guildhall-dropped": request.dropped.join(",") };
}

/** Tells the database, once the answer is stored, that this attempt may take it once more. -> whether that was said */
async function markUndelivered(
  deps: Pick<ReplayDeps, "ledger" | "settlements" | "log">,
  { spender, request }: RunCall,
  { ended, holdId }: UndeliveredAnswer,
): Promise<boolean> {
  const { workspaceId, runId, epoch } = spender;
  const { requestHash } = request;
  try {
    await ended;
    await deps.settlements.ended(holdId);
    await deps.ledger.markUndelivered({ workspaceId, runId, epoch, requestHash, holdId });
    return true;
  } catch (error) {
    deps.log.warn({ err: error, hold_id: holdId }, "an undelivered answer could not be marked");
    return false;
  }
}

function isOfRun(call: MessagesCall): call is RunCall {
  return call.spender.kind === "run";
}

/** Remembers an answer as undelivered if its client leaves before it has all of it, or when told so. */
export function watchDelivery(
  deps: Pick<ReplayDeps, "undelivered" | "ledger" | "settlements" | "log">,
  call: MessagesCall,
  answer: UndeliveredAnswer,
): { missed(): void; stop(): void } {
  if (!isOfRun(call)) return { missed() {}, stop() {} };
  const runCall = call;
  const { gone } = call.client;
  let watching = true;
  function stop(): void {
    watching = false;
    gone.removeEventListener("abort", missed);
  }
  function missed(): void {
    if (!watching) return;
    stop();
    deps.undelivered.note(runCall, { ...answer, marked: markUndelivered(deps, runCall, answer) });
  }
  gone.addEventListener("abort", missed, { once: true });
  if (gone.aborted) missed();
  return { missed, stop };
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Waits for the end of an answer and of its charge: until then nobody knows whether it can be had without paying again. */
async function comes(
  deps: ReplayDeps,
  answer: UndeliveredAnswer,
  signal: AbortSignal,
): Promise<"ended" | "late" | "stopped"> {
  await Promise.race([answer.ended, aborted(signal)]);
  if (signal.aborted) return "stopped";
  const patience = new AbortController();
  const settled = await Promise.race([
    deps.settlements.ended(answer.holdId).then(() => "ended" as const),
    delay(deps.settleWaitMs, "late" as const, { signal: patience.signal }),
    aborted(signal).then(() => "stopped" as const),
  ]).finally(() => {
    patience.abort();
  });
  return settled;
}

/** -> the stored answer, undefined when there is none, or `answered` when the client was told to come back */
async function takeUndelivered(
  deps: ReplayDeps,
  call: RunCall,
  answer: UndeliveredAnswer,
): Promise<Taken | undefined | "answered"> {
  const { client } = call;
  const { holdId } = answer;
  let used = false;
  try {
    const state = await comes(deps, answer, AbortSignal.any([client.gone, deps.shutdown]));
    if (state !== "ended") {
      client.fail(state === "late" ? chargeNotDurable() : brokeOff("shutdown"));
      return "answered";
    }
    // Marked already, as a rule; when the database was away at that time, it is told now.
    if ((await answer.marked) !== true) await markUndelivered(deps, call, answer);
    const taken = await takeStored(deps.ledger, call);
    // An earlier answer to an equal call may come first; this one is then still to be had.
    used = taken === undefined || taken.holdId === holdId;
    return taken;
  } finally {
    if (!used) deps.undelivered.note(call, answer);
  }
}

/** -> the stored answer, also one that another gateway is still reading; `answered` when the client was told to come back */
async function takeStoredAnywhere(
  deps: ReplayDeps,
  call: RunCall,
): Promise<Taken | undefined | "answered"> {
  const taken = (await takeStored(deps.ledger, call)) ?? (await deps.answersElsewhere.take(call));
  if (taken === "in_progress") call.client.fail(callInProgress());
  if (taken === "stopped") call.client.fail(brokeOff("shutdown"));
  return taken === "in_progress" || taken === "stopped" ? "answered" : taken;
}

/**
 * Answers from the journal when this call has been paid for: by an earlier attempt of the run, or by this one when
 * the answer did not reach it. -> false: it has not, so it has to be made
 */
export async function replay(deps: ReplayDeps, call: MessagesCall): Promise<boolean> {
  if (!isOfRun(call)) return false;
  const { spender, request, client } = call;
  const { workspaceId, runId } = spender;
  const { requestHash } = request;
  const undelivered = deps.undelivered.take(call);
  // A run's first attempt has nothing else to repeat, unless its client says so.
  if (undelivered === undefined && spender.epoch <= 1 && !call.retried) return false;
  const taken = await (undelivered === undefined
    ? takeStoredAnywhere(deps, call)
    : takeUndelivered(deps, call, undelivered));
  if (taken === "answered") return true;
  if (taken === undefined) return false;
  const stored = deps.cipher.open(taken.body, { workspaceId, runId, requestHash });
  if (stored === undefined) {
    deps.log.warn(
      { hold_id: taken.holdId, run_id: runId },
      "a stored answer could not be opened; the call is made and paid again",
    );
    return false;
  }
  watchDelivery(deps, call, { holdId: taken.holdId, ended: Promise.resolve() });
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

import { setTimeout as delay } from "node:timers/promises";
import type { Ledger } from "../ledger/ledger.ts";
import { createRecent } from "./budget/recent.ts";
import { attemptOf, type RunCall, type Taken, takeStored } from "./call.ts";

export type AnswersElsewhere = {
  /**
   * The answer to this call once it has come elsewhere; undefined: nobody is being answered who could be asking the same,
   * so the call has to be made. `stopped`: the client has gone or the gateway closes.
   */
  take(call: RunCall): Promise<Taken | undefined | "in_progress" | "stopped">;
};

type ElsewhereLedger = Pick<Ledger, "takeJournal" | "takeMissed" | "openCallsElsewhere">;
type OpenCall = Awaited<ReturnType<Ledger["openCallsElsewhere"]>>[number];

const LOOK_AGAIN_MS = 200;
/** How long the other gateway may take to say that its client has gone, after the end of the answer. */
const MARK_WAIT_MS = 2_000;
/** Attempts that are known to have nothing open from earlier ones; and answers that were handed out. */
const MOST_KNOWN = 10_000;

/** What can be asked of the database about a call that may be a repetition. */
function createLooks(ledger: ElsewhereLedger) {
  function openCalls(call: RunCall): Promise<OpenCall[]> {
    const { price, body } = call.request;
    const asked = { model: price.id, maxTokens: body.max_tokens };
    return ledger.openCallsElsewhere({ ...attemptOf(call), ...asked });
  }

  /** Looks until there is an answer or the time is over. */
  async function lookFor(
    call: RunCall,
    until: { deadlineMs: number; signal: AbortSignal; isOver?: () => Promise<boolean> },
  ): Promise<Taken | undefined> {
    for (;;) {
      const isOver = (await until.isOver?.()) ?? false;
      // Asked for after that: what ended before has been stored before.
      const taken = await takeStored(ledger, call);
      if (taken !== undefined || isOver || until.signal.aborted) return taken;
      if (performance.now() >= until.deadlineMs) return undefined;
      await delay(LOOK_AGAIN_MS, undefined, { signal: until.signal }).catch(() => undefined);
    }
  }

  return { openCalls, lookFor };
}

/**
 * Finds, through the database, whether a call that is repeated here is still being answered elsewhere, and waits for that:
 * it is paid for already. If the other gateway dies, its hold is ended by the reaper and the call is made anew.
 */
export function createAnswersElsewhere(deps: {
  ledger: ElsewhereLedger;
  shutdown: AbortSignal;
  /** Longest that a call may last. */
  callTimeoutMs: number;
}): AnswersElsewhere {
  const { ledger, shutdown, callTimeoutMs } = deps;
  /** An attempt without open calls of earlier ones never has any again: those are fenced. */
  const quiet = createRecent<true>(MOST_KNOWN);
  /** Answers that one of the calls here has got after waiting: the others make theirs anew. */
  const handed = createRecent<true>(MOST_KNOWN);

  const { openCalls, lookFor } = createLooks(ledger);

  /**
   * The calls have ended. One of this same attempt was open when the client asked again, so that its client does not have
   * the whole answer; the other gateway says so, unless it has not noticed.
   */
  async function takeUnmarked(
    call: RunCall,
    ended: readonly OpenCall[],
    signal: AbortSignal,
  ): Promise<Taken | undefined> {
    const own = ended.filter(({ sameAttempt }) => sameAttempt);
    if (own.length === 0) return undefined;
    const left = (): string[] =>
      own.map(({ holdId }) => holdId).filter((holdId) => handed.get(holdId) !== true);
    const deadlineMs = performance.now() + MARK_WAIT_MS;
    const isOver = (): Promise<boolean> => Promise.resolve(left().length === 0);
    const marked = await lookFor(call, { deadlineMs, signal, isOver });
    const holdIds = left();
    if (marked !== undefined || signal.aborted || holdIds.length === 0) return marked;
    return ledger.takeMissed({
      ...attemptOf(call),
      requestHash: call.request.requestHash,
      holdIds,
    });
  }

  async function takeWaiting(
    call: RunCall,
    waitedFor: readonly OpenCall[],
  ): Promise<Taken | undefined | "in_progress" | "stopped"> {
    const signal = AbortSignal.any([call.client.gone, shutdown]);
    const isWaitedFor = ({ holdId }: OpenCall): boolean =>
      waitedFor.some((open) => open.holdId === holdId);
    let open = true;
    const taken = await lookFor(call, {
      deadlineMs: performance.now() + callTimeoutMs,
      signal,
      async isOver() {
        open = (await openCalls(call)).some(isWaitedFor);
        return !open;
      },
    });
    if (taken !== undefined) return taken;
    if (signal.aborted) return "stopped";
    return open ? "in_progress" : takeUnmarked(call, waitedFor, signal);
  }

  return {
    async take(call) {
      const { workspaceId, runId, epoch } = call.spender;
      const attempt = `${workspaceId} ${runId} ${epoch}`;
      if (!call.retried && quiet.get(attempt) === true) return undefined;
      const found = await openCalls(call);
      if (!found.some(({ sameAttempt }) => !sameAttempt)) quiet.set(attempt, true);
      // Who does not say that it repeats a call makes another one beside those of its own that are open.
      const waitedFor = found.filter(({ sameAttempt }) => call.retried || !sameAttempt);
      if (waitedFor.length === 0) return undefined;
      const taken = await takeWaiting(call, waitedFor);
      if (typeof taken === "object") handed.set(taken.holdId, true);
      return taken;
    },
  };
}

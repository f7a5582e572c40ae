import type { AgentTimeOutcome, ReserveOutcome, SettleOutcome } from "./calls.ts";
import { type Draft, draftOf, emit, holdKey, type LedgerEvent } from "./kernel-events.ts";
import { levelsOf, refusalOf, roomOf, seeLevels } from "./kernel-levels.ts";
import {
  type AccountKey,
  budgetKey,
  dayOf,
  type Hold,
  type LevelName,
  limitKey,
  type LineKind,
  type Meter,
  monthOf,
  type Run,
  type State,
  type TopLevel,
  topLimitKey,
} from "./kernel-state.ts";

// The rules of the ledger without a database: each function decides one command against a state and answers what
// happened, the state after it and the outcome that the caller sees. The functions of migrations/0005_ledger_calls.sql must
// decide the same; kernel-oracle.test.ts compares the two.

export type Decision<Outcome> = { state: State; events: readonly LedgerEvent[]; outcome: Outcome };

/** Runs one command. What it reads before its first event is the state before it. */
export function decide<Outcome>(state: State, work: (draft: Draft) => Outcome): Decision<Outcome> {
  const draft = draftOf(state);
  const outcome = work(draft);
  return { state: draft.state, events: draft.events, outcome };
}

/** The run, when this epoch holds its lease. */
function leasedRun(
  state: State,
  fence: { workspaceId: string; runId: string; epoch: number },
): Run | undefined {
  const run = state.runs.get(fence.runId);
  const leased =
    run?.workspaceId === fence.workspaceId && run.epoch === fence.epoch && run.state === "claimed";
  return leased ? run : undefined;
}

export type Reserve = {
  workspaceId: string;
  runId: string;
  epoch: number;
  holdId: string;
  callNo?: number;
  attemptNo: number;
  ownerId: string;
  priceVersion: string;
  inputNanoUsd: number;
  outputNanoUsdPerToken: number;
  maxTokens: number;
  minTokens: number;
  dispatch: boolean;
};

/** Reserves the worst case of one upstream attempt at every level, or nothing; clamps the output to what is left. */
export function reserve(state: State, ask: Reserve): Decision<ReserveOutcome> {
  return decide(state, (draft): ReserveOutcome => {
    const { workspaceId, runId, inputNanoUsd, outputNanoUsdPerToken: price, maxTokens } = ask;
    const run = leasedRun(state, ask);
    if (!run) return { status: "stale" };
    const keys = levelsOf(state, runId);
    const most = inputNanoUsd + price * maxTokens;
    const least = inputNanoUsd + price * Math.min(ask.minTokens, maxTokens);
    const seen = seeLevels(draft, { workspaceId, meter: "model_cost", keys, needed: most });

    const callLimit = state.tasks.get(run.taskId)?.modelCallLimit ?? 0;
    const calls = [...state.holds.values()].filter((hold) => hold.runId === runId);
    const callNo = ask.callNo ?? Math.max(0, ...calls.map((hold) => hold.callNo)) + 1;
    if (ask.callNo === undefined && callNo > callLimit)
      return { status: "call_limit", limit: callLimit };

    const room = Math.min(...seen.map(roomOf));
    if (room < least) return refusalOf(draft.state, { meter: "model_cost", seen, needed: least });
    const granted =
      price === 0 ? maxTokens : Math.min(maxTokens, Math.floor((room - inputNanoUsd) / price));
    const amount = inputNanoUsd + price * granted;
    emit(draft, {
      type: "held",
      hold: {
        workspaceId,
        id: ask.holdId,
        runId,
        callNo,
        attemptNo: ask.attemptNo,
        epoch: ask.epoch,
        ownerId: ask.ownerId,
        state: ask.dispatch ? "DISPATCHED" : "HELD",
        priceVersion: ask.priceVersion,
        amount,
        maxTokens: granted,
        levels: seen,
        posted: null,
        overrun: 0,
        heldAtMs: state.nowMs,
      },
    });
    return {
      status: "held",
      callNo,
      amountNanoUsd: amount,
      maxTokens: granted,
    };
  });
}

/** Marks a hold as sent. -> false when it was taken away meanwhile, or belongs to another process. */
export function dispatch(
  state: State,
  hold: { workspaceId: string; holdId: string; ownerId: string },
): Decision<boolean> {
  return decide(state, (draft) => {
    const found = state.holds.get(holdKey(hold.workspaceId, hold.holdId));
    if (found?.state !== "HELD" || found.ownerId !== hold.ownerId) return false;
    emit(draft, { type: "dispatched", workspaceId: hold.workspaceId, holdId: hold.holdId });
    return true;
  });
}

type Booking = {
  workspaceId: string;
  meter: Meter;
  kind: LineKind;
  amount: number;
  runId: string;
  holdId?: string;
};

function book(draft: Draft, booking: Booking, accounts: readonly AccountKey[]): void {
  for (const { level, scopeId, period } of accounts)
    emit(draft, { type: "booked", line: { ...booking, level, scopeId, period } });
}

/** Books what a provider charged beyond a hold on the platform's own account. */
function bookOverrun(draft: Draft, hold: Hold, amount: number): void {
  const { workspaceId, runId, id: holdId } = hold;
  const account = { level: "overrun", scopeId: "platform", period: "all" } as const;
  if (!draft.state.budgets.has(budgetKey(workspaceId, "model_cost", account)))
    emit(draft, {
      type: "budget_opened",
      budget: {
        ...account,
        workspaceId,
        meter: "model_cost",
        limitVersion: 0,
        limit: null,
        posted: 0,
        held: 0,
      },
    });
  const booking = { workspaceId, meter: "model_cost", kind: "overrun", amount, runId } as const;
  book(draft, { ...booking, holdId }, [account]);
}

export type Settle = {
  workspaceId: string;
  holdId: string;
  outcome: "settled" | "provisional" | "void";
  actualNanoUsd?: number;
};

const allowed: Readonly<Record<Settle["outcome"], readonly Hold["state"][]>> = {
  settled: ["DISPATCHED", "PROVISIONAL"],
  provisional: ["DISPATCHED"],
  void: ["HELD"],
};

/** Books the end of a hold, when its state allows that end. */
export function endHold(draft: Draft, ask: Settle): SettleOutcome {
  const hold = draft.state.holds.get(holdKey(ask.workspaceId, ask.holdId));
  if (!hold || !allowed[ask.outcome].includes(hold.state))
    return { status: "unchanged", state: hold?.state ?? null };
  const { workspaceId, id: holdId, runId, levels } = hold;
  if (ask.outcome === "void") {
    emit(draft, { type: "hold_ended", hold, state: "VOID", posted: null, overrun: 0 });
    return { status: "done", postedNanoUsd: 0, overrunNanoUsd: 0 };
  }
  const actual = ask.outcome === "settled" ? (ask.actualNanoUsd ?? 0) : hold.amount;
  const posted = Math.min(actual, hold.amount);
  const overrun = actual - posted;
  const fresh = ask.outcome === "settled" ? "settle" : "provisional";
  const kind = hold.state === "PROVISIONAL" ? "lowered" : fresh;
  const amount = posted - (hold.posted ?? 0);
  book(draft, { workspaceId, meter: "model_cost", kind, amount, runId, holdId }, levels);
  if (overrun > 0) bookOverrun(draft, hold, overrun);
  const ended = ask.outcome === "settled" ? "SETTLED" : "PROVISIONAL";
  emit(draft, { type: "hold_ended", hold, state: ended, posted, overrun });
  return { status: "done", postedNanoUsd: posted, overrunNanoUsd: overrun };
}

/** Ends a hold by compare-and-set on its state, booked in the periods of its admission. */
export function settle(state: State, ask: Settle): Decision<SettleOutcome> {
  return decide(state, (draft) => endHold(draft, ask));
}

export function processSeen(state: State, processId: string): Decision<void> {
  return decide(state, (draft) => emit(draft, { type: "process_seen", processId }));
}

/** Voids what never left and is old; posts in full what a dead process had sent. */
export function reap(
  state: State,
  rule: { deadAfterMs: number; heldForMs: number; atMost: number },
): Decision<{ voided: number; provisional: number }> {
  return decide(state, (draft) => {
    const isOver = (hold: Hold): boolean => {
      const seenAtMs = state.processes.get(hold.ownerId) ?? Number.NEGATIVE_INFINITY;
      const dead = seenAtMs <= state.nowMs - rule.deadAfterMs;
      if (hold.state === "HELD") return hold.heldAtMs < state.nowMs - rule.heldForMs;
      return hold.state === "DISPATCHED" && dead;
    };
    const over = [...state.holds.values()]
      .filter(isOver)
      .toSorted((a, b) => a.heldAtMs - b.heldAtMs)
      .slice(0, rule.atMost);
    const counts = { voided: 0, provisional: 0 };
    for (const { workspaceId, id: holdId, state: before } of over) {
      const outcome = before === "HELD" ? "void" : "provisional";
      endHold(draft, { workspaceId, holdId, outcome });
      counts[before === "HELD" ? "voided" : "provisional"]++;
    }
    return counts;
  });
}

/** The shortest slice worth having: less would be gone before its work has begun. */
const LEAST_SLICE_MS = 1_000;

/** Books a slice of agent time ahead of its use, once for each number of the epoch. */
export function leaseAgentTime(
  state: State,
  ask: { workspaceId: string; runId: string; epoch: number; bookingNo: number; sliceMs: number },
): Decision<AgentTimeOutcome> {
  return decide(state, (draft): AgentTimeOutcome => {
    const { workspaceId, runId, epoch, bookingNo, sliceMs } = ask;
    if (!leasedRun(state, ask)) return { status: "stale" };
    const meter = "agent_time";
    const keys = levelsOf(state, runId);
    const seen = seeLevels(draft, { workspaceId, meter, keys, needed: sliceMs });
    const ofRun = [...state.slices.values()].filter((slice) => slice.runId === runId);
    const ofEpoch = ofRun.filter((slice) => slice.epoch === epoch);
    const booked = ofEpoch.toSorted((a, b) => a.sliceNo - b.sliceNo)[bookingNo - 1];
    if (booked) return { status: "granted", ms: booked.grantedMs };
    const room = Math.min(...seen.map(roomOf));
    const needed = Math.min(sliceMs, LEAST_SLICE_MS);
    if (room < needed)
      return { ...refusalOf(draft.state, { meter, seen, needed }), status: "exhausted" };
    const ms = Math.min(sliceMs, room);
    const sliceNo = ofRun.length + 1;
    emit(draft, {
      type: "time_granted",
      slice: { workspaceId, runId, sliceNo, epoch, grantedMs: ms, returnedMs: 0, levels: seen },
    });
    book(draft, { workspaceId, meter, kind: "agent_time", amount: ms, runId }, keys);
    return { status: "granted", ms };
  });
}

/** Gives unused time back to the slices of this epoch, newest first, never more than they took. */
export function returnAgentTime(
  state: State,
  ask: { workspaceId: string; runId: string; epoch: number; unusedMs: number },
): Decision<boolean> {
  return decide(state, (draft) => {
    const { workspaceId, runId, epoch, unusedMs } = ask;
    const run = state.runs.get(runId);
    const fenced =
      run?.workspaceId === workspaceId && run.epoch === epoch && run.state !== "queued";
    const slices = [...state.slices.values()]
      .filter((slice) => slice.runId === runId && slice.epoch === epoch)
      .toSorted((a, b) => b.sliceNo - a.sliceNo);
    const taken = slices.reduce((sum, slice) => sum + slice.grantedMs - slice.returnedMs, 0);
    if (!fenced || unusedMs <= 0 || taken < unusedMs) return false;
    let rest = unusedMs;
    for (const slice of slices) {
      const part = Math.min(rest, slice.grantedMs - slice.returnedMs);
      if (part === 0) continue;
      emit(draft, { type: "time_returned", slice, returnedMs: part });
      const booking = { workspaceId, meter: "agent_time", amount: -part, runId } as const;
      book(draft, { ...booking, kind: "agent_time_returned" }, slice.levels);
      rest -= part;
    }
    return true;
  });
}

/** A new version of a limit, in force from the next admission on. -> the version */
export function setLimit(
  state: State,
  change: {
    workspaceId: string;
    meter: Meter;
    level: Extract<LevelName, "task" | "agent" | "workspace">;
    scopeId: string;
    amount: number | null;
  },
): Decision<number> {
  return decide(state, (draft) => {
    const { workspaceId, meter, level, scopeId } = change;
    const before = state.limits.get(limitKey(workspaceId, meter, level, scopeId));
    const version = (before?.version ?? 0) + 1;
    emit(draft, { type: "limit_set", ...change, version, since: monthOf(state.nowMs) });
    return version;
  });
}

/** A new limit of a top level. Unused chunks return, so a lower limit holds from the next admission on. */
export function setTopLimit(
  state: State,
  change: { level: TopLevel; scopeId: string; meter: Meter; amount: number | null },
): Decision<number> {
  return decide(state, (draft) => {
    const { level, scopeId, meter } = change;
    const version = (state.topLimits.get(topLimitKey(level, scopeId, meter))?.version ?? 0) + 1;
    const since = level === "platform" ? dayOf(state.nowMs) : monthOf(state.nowMs);
    emit(draft, { type: "top_limit_set", ...change, version, since });
    return version;
  });
}

import {
  type Budget,
  budgetKey,
  type Hold,
  type HoldState,
  limitKey,
  type LevelKey,
  type LevelName,
  type Line,
  type Meter,
  type State,
  type TimeSlice,
  type TopBudget,
  topKey,
  type TopLevel,
  topLimitKey,
} from "./kernel-state.ts";

/** What can happen to the ledger. Every change of its state is one of these. */
export type LedgerEvent =
  | { type: "budget_opened"; budget: Budget }
  | { type: "top_opened"; top: TopBudget }
  /** A chunk of a top level handed to a workspace, or (negative) taken back from it. */
  | { type: "chunk_moved"; workspaceId: string; top: TopBudget; amount: number }
  | { type: "held"; hold: Hold }
  | { type: "dispatched"; workspaceId: string; holdId: string }
  | { type: "hold_ended"; hold: Hold; state: HoldState; posted: number | null; overrun: number }
  | { type: "booked"; line: Line }
  | { type: "time_granted"; slice: TimeSlice }
  | { type: "time_returned"; slice: TimeSlice; returnedMs: number }
  | {
      type: "limit_set";
      workspaceId: string;
      meter: Meter;
      level: LevelName;
      scopeId: string;
      version: number;
      amount: number | null;
      /** The first period that it is for. */
      since: string;
    }
  | {
      type: "top_limit_set";
      level: TopLevel;
      scopeId: string;
      meter: Meter;
      version: number;
      amount: number | null;
      since: string;
    }
  | { type: "process_seen"; processId: string };

function put<Value>(
  map: ReadonlyMap<string, Value>,
  key: string,
  value: Value,
): ReadonlyMap<string, Value> {
  return new Map(map).set(key, value);
}

export const holdKey = (workspaceId: string, holdId: string): string => `${workspaceId}|${holdId}`;
export const sliceKey = (slice: Pick<TimeSlice, "workspaceId" | "runId" | "sliceNo">): string =>
  [slice.workspaceId, slice.runId, slice.sliceNo].join("|");

function changeHeld(
  state: State,
  hold: { workspaceId: string; levels: readonly LevelKey[] },
  change: number,
): ReadonlyMap<string, Budget> {
  const budgets = new Map(state.budgets);
  for (const level of hold.levels) {
    const key = budgetKey(hold.workspaceId, "model_cost", level);
    const budget = budgets.get(key);
    if (budget) budgets.set(key, { ...budget, held: budget.held + change });
  }
  return budgets;
}

function applyTopLimit(
  state: State,
  event: Extract<LedgerEvent, { type: "top_limit_set" }>,
): State {
  const { level, scopeId, meter, version, amount } = event;
  const budgets = new Map(state.budgets);
  const used = new Map<string, number>();
  for (const [key, budget] of budgets) {
    if (budget.level !== level || budget.scopeId !== scopeId || budget.meter !== meter) continue;
    if (budget.period < event.since) continue;
    const limit = amount === null ? null : budget.posted + budget.held;
    budgets.set(key, { ...budget, limitVersion: version, limit });
    used.set(budget.period, (used.get(budget.period) ?? 0) + budget.posted + budget.held);
  }
  const tops = new Map(state.tops);
  if (amount !== null)
    for (const [period, granted] of used) {
      const top: TopBudget = { level, scopeId, meter, period, limit: amount, granted };
      tops.set(topKey(top), top);
    }
  const topLimits = put(state.topLimits, topLimitKey(level, scopeId, meter), { version, amount });
  return { ...state, budgets, tops, topLimits };
}

function applyLimit(state: State, event: Extract<LedgerEvent, { type: "limit_set" }>): State {
  const { workspaceId, meter, level, scopeId, version, amount } = event;
  const budgets = new Map(state.budgets);
  for (const [key, budget] of budgets)
    if (
      budget.workspaceId === workspaceId &&
      budget.meter === meter &&
      budget.level === level &&
      budget.scopeId === scopeId &&
      budget.period >= event.since
    )
      budgets.set(key, { ...budget, limitVersion: version, limit: amount });
  const key = limitKey(workspaceId, meter, level, scopeId);
  return { ...state, budgets, limits: put(state.limits, key, { version, amount }) };
}

function moveChunk(state: State, event: Extract<LedgerEvent, { type: "chunk_moved" }>): State {
  const top = state.tops.get(topKey(event.top));
  const key = budgetKey(event.workspaceId, event.top.meter, event.top);
  const budget = state.budgets.get(key);
  if (!top || !budget || budget.limit === null) return state;
  return {
    ...state,
    tops: put(state.tops, topKey(top), { ...top, granted: top.granted + event.amount }),
    budgets: put(state.budgets, key, { ...budget, limit: budget.limit + event.amount }),
  };
}

/** The state after an event. Total: an event that names something unknown changes nothing. */
export function evolve(state: State, event: LedgerEvent): State {
  switch (event.type) {
    case "budget_opened": {
      const { budget } = event;
      const key = budgetKey(budget.workspaceId, budget.meter, budget);
      return { ...state, budgets: put(state.budgets, key, budget) };
    }
    case "top_opened":
      return { ...state, tops: put(state.tops, topKey(event.top), event.top) };
    case "chunk_moved":
      return moveChunk(state, event);
    case "held": {
      const { hold } = event;
      return {
        ...state,
        budgets: changeHeld(state, hold, hold.amount),
        holds: put(state.holds, holdKey(hold.workspaceId, hold.id), hold),
      };
    }
    case "dispatched": {
      const key = holdKey(event.workspaceId, event.holdId);
      const hold = state.holds.get(key);
      if (!hold) return state;
      return { ...state, holds: put(state.holds, key, { ...hold, state: "DISPATCHED" }) };
    }
    case "hold_ended": {
      const { hold, posted, overrun } = event;
      const open = hold.state === "HELD" || hold.state === "DISPATCHED";
      return {
        ...state,
        budgets: open ? changeHeld(state, hold, -hold.amount) : state.budgets,
        holds: put(state.holds, holdKey(hold.workspaceId, hold.id), {
          ...hold,
          state: event.state,
          posted,
          overrun,
        }),
      };
    }
    case "booked": {
      const { line } = event;
      const key = budgetKey(line.workspaceId, line.meter, line);
      const budget = state.budgets.get(key);
      if (!budget) return state;
      return {
        ...state,
        lines: [...state.lines, line],
        budgets: put(state.budgets, key, { ...budget, posted: budget.posted + line.amount }),
      };
    }
    case "time_granted":
      return { ...state, slices: put(state.slices, sliceKey(event.slice), event.slice) };
    case "time_returned": {
      const { slice } = event;
      const returnedMs = slice.returnedMs + event.returnedMs;
      return { ...state, slices: put(state.slices, sliceKey(slice), { ...slice, returnedMs }) };
    }
    case "limit_set":
      return applyLimit(state, event);
    case "top_limit_set":
      return applyTopLimit(state, event);
    case "process_seen":
      return { ...state, processes: put(state.processes, event.processId, state.nowMs) };
  }
}

/** A decision under way: what has happened so far, and the state that it led to. */
export type Draft = { state: State; readonly events: LedgerEvent[] };

export function emit(draft: Draft, event: LedgerEvent): void {
  draft.events.push(event);
  draft.state = evolve(draft.state, event);
}

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
  | { type: "process_seen"; processId: string }
  | { type: "process_ended"; processId: string };

/** A decision under way: what has happened so far, and the state that it led to. */
export type Draft = {
  readonly state: State;
  readonly events: LedgerEvent[];
  /** The tables that this decision has copied, and so may change. */
  readonly own: Set<keyof State>;
};

export function draftOf(state: State): Draft {
  return { state: { ...state }, events: [], own: new Set() };
}

type TableName = {
  [Name in keyof State]: State[Name] extends ReadonlyMap<string, unknown> ? Name : never;
}[keyof State];
type RowOf<Name extends TableName> =
  State[Name] extends ReadonlyMap<string, infer Row> ? Row : never;

/** A table to change. Copied at the first change of a decision, and not again, for decisions touch many rows. */
function tableOf<Name extends TableName>(draft: Draft, name: Name): Map<string, RowOf<Name>> {
  const { state, own } = draft;
  if (!own.has(name)) {
    own.add(name);
    Object.assign(state, { [name]: new Map<string, unknown>(state[name]) });
  }
  return state[name] as unknown as Map<string, RowOf<Name>>;
}

export const holdKey = (workspaceId: string, holdId: string): string => `${workspaceId}|${holdId}`;
export const sliceKey = (slice: Pick<TimeSlice, "workspaceId" | "runId" | "sliceNo">): string =>
  [slice.workspaceId, slice.runId, slice.sliceNo].join("|");

function changeHeld(
  draft: Draft,
  hold: { workspaceId: string; levels: readonly LevelKey[] },
  change: number,
): void {
  const budgets = tableOf(draft, "budgets");
  for (const level of hold.levels) {
    const key = budgetKey(hold.workspaceId, "model_cost", level);
    const budget = budgets.get(key);
    if (budget) budgets.set(key, { ...budget, held: budget.held + change });
  }
}

function applyTopLimit(draft: Draft, event: Extract<LedgerEvent, { type: "top_limit_set" }>): void {
  const { level, scopeId, meter, version, amount } = event;
  const budgets = tableOf(draft, "budgets");
  const used = new Map<string, number>();
  for (const [key, budget] of budgets) {
    if (budget.level !== level || budget.scopeId !== scopeId || budget.meter !== meter) continue;
    if (budget.period < event.since) continue;
    const limit = amount === null ? null : budget.posted + budget.held;
    budgets.set(key, { ...budget, limitVersion: version, limit });
    used.set(budget.period, (used.get(budget.period) ?? 0) + budget.posted + budget.held);
  }
  if (amount !== null)
    for (const [period, granted] of used) {
      const top: TopBudget = { level, scopeId, meter, period, limit: amount, granted };
      tableOf(draft, "tops").set(topKey(top), top);
    }
  tableOf(draft, "topLimits").set(topLimitKey(level, scopeId, meter), { version, amount });
}

function applyLimit(draft: Draft, event: Extract<LedgerEvent, { type: "limit_set" }>): void {
  const { workspaceId, meter, level, scopeId, version, amount } = event;
  const budgets = tableOf(draft, "budgets");
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
  tableOf(draft, "limits").set(key, { version, amount });
}

function moveChunk(draft: Draft, event: Extract<LedgerEvent, { type: "chunk_moved" }>): void {
  const { tops, budgets } = draft.state;
  const top = tops.get(topKey(event.top));
  const key = budgetKey(event.workspaceId, event.top.meter, event.top);
  const budget = budgets.get(key);
  if (!top || !budget || budget.limit === null) return;
  tableOf(draft, "tops").set(topKey(top), { ...top, granted: top.granted + event.amount });
  tableOf(draft, "budgets").set(key, { ...budget, limit: budget.limit + event.amount });
}

function endHold(draft: Draft, event: Extract<LedgerEvent, { type: "hold_ended" }>): void {
  const { hold, state, posted, overrun } = event;
  if (hold.state === "HELD" || hold.state === "DISPATCHED") changeHeld(draft, hold, -hold.amount);
  const ended = { ...hold, state, posted, overrun };
  tableOf(draft, "holds").set(holdKey(hold.workspaceId, hold.id), ended);
}

function bookLine(draft: Draft, line: Line): void {
  const key = budgetKey(line.workspaceId, line.meter, line);
  const budget = draft.state.budgets.get(key);
  if (!budget) return;
  if (!draft.own.has("lines")) {
    draft.own.add("lines");
    draft.state.lines = [...draft.state.lines];
  }
  (draft.state.lines as Line[]).push(line);
  tableOf(draft, "budgets").set(key, { ...budget, posted: budget.posted + line.amount });
}

function apply(draft: Draft, event: LedgerEvent): void {
  switch (event.type) {
    case "budget_opened": {
      const { budget } = event;
      tableOf(draft, "budgets").set(budgetKey(budget.workspaceId, budget.meter, budget), budget);
      return;
    }
    case "top_opened":
      tableOf(draft, "tops").set(topKey(event.top), event.top);
      return;
    case "chunk_moved":
      return moveChunk(draft, event);
    case "held": {
      const { hold } = event;
      changeHeld(draft, hold, hold.amount);
      tableOf(draft, "holds").set(holdKey(hold.workspaceId, hold.id), hold);
      return;
    }
    case "dispatched": {
      const key = holdKey(event.workspaceId, event.holdId);
      const hold = draft.state.holds.get(key);
      if (hold) tableOf(draft, "holds").set(key, { ...hold, state: "DISPATCHED" });
      return;
    }
    case "hold_ended":
      return endHold(draft, event);
    case "booked":
      return bookLine(draft, event.line);
    case "time_granted":
      tableOf(draft, "slices").set(sliceKey(event.slice), event.slice);
      return;
    case "time_returned": {
      const { slice } = event;
      const returnedMs = slice.returnedMs + event.returnedMs;
      tableOf(draft, "slices").set(sliceKey(slice), { ...slice, returnedMs });
      return;
    }
    case "limit_set":
      return applyLimit(draft, event);
    case "top_limit_set":
      return applyTopLimit(draft, event);
    case "process_seen":
      tableOf(draft, "processes").set(event.processId, draft.state.nowMs);
      return;
    case "process_ended":
      tableOf(draft, "processes").delete(event.processId);
      // What counts is when its end first became known.
      if (!draft.state.endedProcesses.has(event.processId))
        tableOf(draft, "endedProcesses").set(event.processId, draft.state.nowMs);
      return;
  }
}

/** Records an event in the draft's state. Total: an event that names something unknown changes nothing. */
export function emit(draft: Draft, event: LedgerEvent): void {
  draft.events.push(event);
  apply(draft, event);
}

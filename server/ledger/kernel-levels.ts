import { invariant } from "../platform/errors.ts";
import { type Draft, emit } from "./kernel-events.ts";
import {
  type Budget,
  budgetKey,
  dayOf,
  isTopLevel,
  type LevelKey,
  limitKey,
  type Meter,
  monthOf,
  type Refusal,
  type SeenLevel,
  type State,
  type TopBudget,
  topKey,
  topLimitKey,
} from "./kernel-state.ts";

/** The levels that a run's spending counts against, leaf first: run, task and its ancestors, agent, workspace, billing account, platform. */
export function levelsOf(state: State, runId: string): LevelKey[] {
  const run = state.runs.get(runId);
  invariant(run, `run ${runId} exists`);
  const workspace = state.workspaces.get(run.workspaceId);
  invariant(workspace, `workspace ${run.workspaceId} exists`);
  const levels: LevelKey[] = [{ level: "run", scopeId: runId, period: "all" }];
  for (let id: string | null = run.taskId; id !== null;) {
    levels.push({ level: "task", scopeId: id, period: "all" });
    id = state.tasks.get(id)?.parentTaskId ?? null;
  }
  const month = monthOf(state.nowMs);
  const agentId = state.tasks.get(run.taskId)?.agentId ?? "";
  levels.push(
    { level: "agent", scopeId: agentId, period: month },
    { level: "workspace", scopeId: run.workspaceId, period: month },
    { level: "owner", scopeId: workspace.ownerId, period: month },
    { level: "platform", scopeId: "platform", period: dayOf(state.nowMs) },
  );
  return levels;
}

function limitInForce(
  state: State,
  at: { workspaceId: string; meter: Meter; key: LevelKey },
): { version: number; amount: number | null } {
  const { workspaceId, meter, key } = at;
  if (isTopLevel(key.level))
    return (
      state.topLimits.get(topLimitKey(key.level, key.scopeId, meter)) ?? {
        version: 0,
        amount: null,
      }
    );
  const set = state.limits.get(limitKey(workspaceId, meter, key.level, key.scopeId));
  if (set) return set;
  const task = key.level === "task" ? state.tasks.get(key.scopeId) : undefined;
  if (!task) return { version: 0, amount: null };
  const amount = meter === "model_cost" ? task.costLimitNanoUsd : task.agentTimeLimitMs;
  return { version: 0, amount };
}

/** Opens the row of a level. The workspace's row of a limited top level starts with nothing and gets chunks. */
function openBudget(draft: Draft, at: { workspaceId: string; meter: Meter; key: LevelKey }): void {
  const { workspaceId, meter, key } = at;
  const { version, amount } = limitInForce(draft.state, at);
  let limit = amount;
  if (isTopLevel(key.level) && amount !== null) {
    const top: TopBudget = {
      level: key.level,
      scopeId: key.scopeId,
      meter,
      period: key.period,
      limit: amount,
      granted: 0,
    };
    if (!draft.state.tops.has(topKey(top))) emit(draft, { type: "top_opened", top });
    limit = 0;
  }
  const budget: Budget = {
    ...key,
    workspaceId,
    meter,
    limitVersion: version,
    limit,
    posted: 0,
    held: 0,
  };
  emit(draft, { type: "budget_opened", budget });
}

/** All workspaces' rows below one shared row. */
function sharers(state: State, top: Omit<TopBudget, "limit" | "granted">): Budget[] {
  return [...state.budgets.values()].filter(
    (budget) =>
      budget.level === top.level &&
      budget.scopeId === top.scopeId &&
      budget.meter === top.meter &&
      budget.period === top.period,
  );
}

/**
 * Sets the workspace's chunk of a top level so that it fits `needed` more. When too little is left, all that workspaces
 * were handed and do not use returns first, this one's own too.
 */
function grantChunk(draft: Draft, budget: Budget, needed: number): void {
  if (!isTopLevel(budget.level)) return;
  const shared = { ...budget, level: budget.level };
  const top = draft.state.tops.get(topKey(shared));
  if (!top) return;
  const move = (workspaceId: string, amount: number): void => {
    if (amount !== 0) emit(draft, { type: "chunk_moved", workspaceId, top, amount });
  };
  const unusedOf = (row: Budget): number => Math.max(0, (row.limit ?? 0) - row.posted - row.held);
  let lacking = needed;
  if (top.limit - top.granted < Math.max(needed, 0)) {
    lacking += unusedOf(budget);
    move(budget.workspaceId, -unusedOf(budget));
    if (top.limit - top.granted < needed)
      for (const other of sharers(draft.state, shared))
        if (other.workspaceId !== budget.workspaceId) move(other.workspaceId, -unusedOf(other));
  }
  const left = top.limit - (draft.state.tops.get(topKey(top))?.granted ?? 0);
  const wanted = Math.max(lacking, Math.trunc(left / 100));
  move(budget.workspaceId, Math.max(0, Math.min(left, wanted)));
}

/** A top level that was lowered below what it had handed out. */
function isOvercommitted(state: State, budget: Budget): boolean {
  if (!isTopLevel(budget.level)) return false;
  const top = state.tops.get(topKey({ ...budget, level: budget.level }));
  return top !== undefined && top.granted > top.limit;
}

/** What the levels leave, leaf first. Opens rows on first use; top levels that leave less than needed get a chunk. */
export function seeLevels(
  draft: Draft,
  at: { workspaceId: string; meter: Meter; keys: readonly LevelKey[]; needed: number },
): SeenLevel[] {
  const { workspaceId, meter, keys, needed } = at;
  const rowOf = (key: LevelKey): Budget | undefined =>
    draft.state.budgets.get(budgetKey(workspaceId, meter, key));
  for (const key of keys) if (!rowOf(key)) openBudget(draft, { workspaceId, meter, key });
  return keys.map((key) => {
    const row = rowOf(key);
    invariant(row, "the row was opened");
    const lacking = row.posted + row.held + needed - (row.limit ?? Number.POSITIVE_INFINITY);
    if (row.limit !== null && (lacking > 0 || isOvercommitted(draft.state, row)))
      grantChunk(draft, row, lacking);
    const { limitVersion, limit, posted, held } = rowOf(key) ?? row;
    return { ...key, limitVersion, limit, posted, held };
  });
}

export const roomOf = (level: SeenLevel): number =>
  level.limit === null ? Number.POSITIVE_INFINITY : level.limit - level.posted - level.held;

/** What a level would leave if every open hold returned in full; for a top level, those of all its workspaces. */
function roomWithoutHolds(state: State, meter: Meter, level: SeenLevel): number {
  if (isTopLevel(level.level)) {
    const shared = { ...level, level: level.level, meter };
    const top = state.tops.get(topKey(shared));
    const spent = sharers(state, shared).reduce((sum, budget) => sum + budget.posted, 0);
    if (top) return top.limit - spent;
  }
  return (level.limit ?? Number.POSITIVE_INFINITY) - level.posted;
}

/** Which level refuses: rather one that no returning hold can help, then the one that leaves least, then the leaf. */
export function refusalOf(
  state: State,
  request: { meter: Meter; seen: readonly SeenLevel[]; needed: number },
): Refusal {
  const { meter, seen, needed } = request;
  const [worst] = seen
    .filter((level) => roomOf(level) < needed)
    .map((level) => ({ level, helped: roomWithoutHolds(state, meter, level) >= needed }))
    .toSorted((a, b) => Number(a.helped) - Number(b.helped) || roomOf(a.level) - roomOf(b.level));
  invariant(worst && worst.level.limit !== null, "a level refuses");
  const { level, scopeId, period, limit, posted, held } = worst.level;
  return {
    status: worst.helped ? "reserved" : "exhausted",
    level,
    scopeId,
    period,
    limit,
    posted,
    held,
    needed,
  };
}

import { roomOf } from "./kernel-levels.ts";
import {
  type Budget,
  budgetKey,
  type Hold,
  isTopLevel,
  type Meter,
  type SeenLevel,
  type State,
  type TimeSlice,
} from "./kernel-state.ts";
import type { Operation } from "./operation-fixture.ts";
import type { Attempt, Stage } from "./stage-fixture.ts";

// What must hold of every step of every sequence. Plain throws, for they run some ten million times.

export function must(condition: boolean, law: string, detail: () => unknown): void {
  if (!condition) throw new Error(`${law}: ${JSON.stringify(detail())}`);
}

export const isOpen = (hold: Hold): boolean => hold.state === "HELD" || hold.state === "DISPATCHED";

export const accountOf = (account: Parameters<typeof budgetKey>[2]): string =>
  `${account.level}|${account.scopeId}|${account.period}`;

export function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

export function rowsBelow(
  state: State,
  level: Parameters<typeof accountOf>[0],
  meter: Meter,
): Budget[] {
  const rows: Budget[] = [];
  for (const row of state.budgets.values())
    if (
      row.level === level.level &&
      row.scopeId === level.scopeId &&
      row.period === level.period &&
      row.meter === meter
    )
      rows.push(row);
  return rows;
}

/** P1. Shared levels count over all workspaces. */
function checkAdmission(after: State, admitted: Hold | TimeSlice, meter: Meter): void {
  const amount = "amount" in admitted ? admitted.amount : admitted.grantedMs;
  for (const level of admitted.levels) {
    const stored = () => ["it saw", level, amount];
    must(roomOf(level) >= amount, "P1 what an admission saw left room for it", stored);
    const key = budgetKey(admitted.workspaceId, meter, level);
    const own = after.budgets.get(key)!;
    let used = own.posted + own.held;
    let { limit } = own;
    if (isTopLevel(level.level)) {
      const below = rowsBelow(after, level, meter);
      const top = after.tops.get([level.level, level.scopeId, meter, level.period].join("|"));
      if (top && below.every((row) => row.limit !== null)) {
        used = sum(below.map((row) => row.posted + row.held));
        ({ limit } = top);
      }
    }
    const where = () => [level, used, limit];
    must(limit === null || used <= limit, "P1 posted + held <= limit at admission", where);
  }
}

/** The largest answer that fits, not less. */
function checkClamp(operation: Operation, hold: Hold): void {
  if (operation.type !== "reserve") return;
  const { inputNanoUsd, outputNanoUsdPerToken: price, maxTokens } = operation.ask;
  must(
    hold.amount === inputNanoUsd + price * hold.maxTokens,
    "what is held is what is granted",
    () => hold,
  );
  if (hold.maxTokens === maxTokens) return;
  const room = Math.min(...hold.levels.map(roomOf));
  must(
    hold.maxTokens < maxTokens && room < hold.amount + price,
    "clamped to what fits",
    () => hold,
  );
}

const next: Readonly<Record<Hold["state"], readonly Hold["state"][]>> = {
  HELD: ["DISPATCHED", "VOID"],
  DISPATCHED: ["SETTLED", "PROVISIONAL"],
  PROVISIONAL: ["SETTLED"],
  SETTLED: [],
  VOID: [],
};

function checkChange(was: Hold, is: Hold): void {
  const both = () => [was, is];
  must(next[was.state].includes(is.state), "a hold goes its way forward only", both);
  const same =
    was.amount === is.amount &&
    was.levels === is.levels &&
    was.ownerId === is.ownerId &&
    was.priceVersion === is.priceVersion;
  must(same, "a hold stays what it was admitted as", both);
  must(was.posted === null || (is.posted ?? 0) <= was.posted, "a charge is only lowered", both);
  must((is.posted ?? 0) <= is.amount, "a tenant pays at most what was held", both);
}

function checkNew(
  { before, operation, after }: { before: State; operation: Operation; after: State },
  hold: Hold,
): void {
  must(operation.type === "reserve" && isOpen(hold), "only an admission makes a hold", () => hold);
  const run = before.runs.get(hold.runId);
  const leased = run?.state === "claimed" && run.epoch === hold.epoch;
  must(leased, "only the attempt that holds the lease spends", () => [run, hold]);
  checkAdmission(after, hold, "model_cost");
  checkClamp(operation, hold);
}

/** What one step may do to holds. */
export function checkHolds(before: State, operation: Operation, after: State): void {
  must(after.holds.size >= before.holds.size, "holds stay", () => after.holds.size);
  for (const [key, hold] of after.holds) {
    const was = before.holds.get(key);
    if (was === hold) continue;
    if (was) checkChange(was, hold);
    else checkNew({ before, operation, after }, hold);
  }
}

/** P2, and that what is settled is the provider's charge to the nano-dollar. */
function checkTruth(stage: Stage, attempt: Attempt, hold: Hold | undefined): void {
  const truth = stage.truthOf(attempt);
  const both = () => [attempt, hold];
  if (!hold) return must(truth === 0, "P2 what was sent has a hold", both);
  const charged = (hold.posted ?? 0) + hold.overrun;
  const covered = isOpen(hold) ? hold.amount : charged;
  must(covered >= truth, "P2 what the provider charges is posted or held", both);
  if (hold.state !== "SETTLED") return;
  must(charged === truth + attempt.beyondNanoUsd, "a settled charge is the provider's", both);
}

export type Checker = {
  /** One step: the operation has led to this state. */
  step(operation: Operation, after: State): void;
  /** What happened outside of the ledger. */
  truth(stage: Stage): void;
};

const settling = new Set(["settle", "provisional"]);

/** Compares each state with the one before it: by induction the balances are the sums of what they stand for. */
export function createChecker(start: State): Checker {
  let before = start;
  const once = new Set<string>();
  const heldBy = new Map<string, number>();
  const postedBy = new Map<string, number>();
  const add = (sums: Map<string, number>, key: string, amount: number) =>
    sums.set(key, (sums.get(key) ?? 0) + amount);

  function takeLines(after: State): void {
    const { lines } = before;
    const kept =
      after.lines.length >= lines.length && after.lines[lines.length - 1] === lines.at(-1);
    must(kept, "lines are only added", () => after.lines.at(-1));
    for (const line of after.lines.slice(lines.length)) {
      const key = budgetKey(line.workspaceId, line.meter, line);
      add(postedBy, key, line.amount);
      if (line.holdId === undefined) continue;
      const kind = settling.has(line.kind) ? "settle" : line.kind;
      const name = `${key}|${line.holdId}|${kind}`;
      must(!once.has(name), "P3 one settlement per attempt", () => line);
      once.add(name);
    }
  }

  function takeHolds(operation: Operation, after: State): void {
    if (after.holds === before.holds) return;
    checkHolds(before, operation, after);
    for (const [key, hold] of after.holds) {
      const was = before.holds.get(key);
      if (was === hold) continue;
      const change = (isOpen(hold) ? hold.amount : 0) - (was && isOpen(was) ? was.amount : 0);
      if (change !== 0)
        for (const level of hold.levels)
          add(heldBy, budgetKey(hold.workspaceId, "model_cost", level), change);
    }
  }

  function checkBalances(after: State): void {
    if (after.budgets === before.budgets) return;
    let topsTouched = after.tops !== before.tops;
    for (const [key, row] of after.budgets) {
      if (row === before.budgets.get(key)) continue;
      topsTouched ||= isTopLevel(row.level);
      const posted = postedBy.get(key) ?? 0;
      must(row.posted === posted && posted >= 0, "P4 posted is the sum of lines", () => [
        row,
        posted,
      ]);
      const held = heldBy.get(key) ?? 0;
      must(row.held === held, "P4 held is the sum of open holds", () => [row, held]);
    }
    must(after.budgets.size >= before.budgets.size, "balances stay", () => after.budgets.size);
    if (topsTouched) checkTops(after);
  }

  return {
    step(operation, after) {
      takeLines(after);
      takeHolds(operation, after);
      if (after.slices !== before.slices)
        for (const [key, slice] of after.slices)
          if (!before.slices.has(key)) checkAdmission(after, slice, "agent_time");
      checkBalances(after);
      before = after;
    },
    truth(stage) {
      for (const attempt of stage.attempts.values()) {
        const key = `${attempt.workspaceId}|${attempt.holdId}`;
        checkTruth(stage, attempt, before.holds.get(key));
      }
    },
  };
}

function checkTops(state: State): void {
  for (const top of state.tops.values()) {
    const rows = rowsBelow(state, top, top.meter);
    const handed = sum(rows.map((row) => row.limit ?? 0));
    const right = handed === top.granted || rows.some((row) => row.limit === null);
    must(right, "P4 what is handed out of a shared limit is what workspaces have", () => [
      top,
      rows,
    ]);
  }
}

/** All balances anew from what they stand for, without a step before. */
export function checkSums(state: State): void {
  const sums = new Map<string, { posted: number; held: number }>();
  const at = (key: string) => {
    const found = sums.get(key) ?? { posted: 0, held: 0 };
    sums.set(key, found);
    return found;
  };
  for (const line of state.lines)
    at(budgetKey(line.workspaceId, line.meter, line)).posted += line.amount;
  for (const hold of state.holds.values())
    if (isOpen(hold))
      for (const level of hold.levels)
        at(budgetKey(hold.workspaceId, "model_cost", level)).held += hold.amount;
  for (const [key, row] of state.budgets) {
    const { posted, held } = at(key);
    must(row.posted === posted && row.held === held, "P4 conservation", () => [row, posted, held]);
  }
  checkTops(state);
}

/** What a level truly leaves: its limit in force less all that was spent there, by whomever. */
export function trueRoom(state: State, at: { workspaceId: string; level: SeenLevel }): number {
  const { workspaceId, level } = at;
  const shared = isTopLevel(level.level);
  const set = shared
    ? state.topLimits.get([level.level, level.scopeId, "model_cost"].join("|"))
    : state.limits.get([workspaceId, "model_cost", level.level, level.scopeId].join("|"));
  const task = level.level === "task" ? state.tasks.get(level.scopeId) : undefined;
  const limit = set ? set.amount : (task?.costLimitNanoUsd ?? null);
  if (limit === null) return Number.POSITIVE_INFINITY;
  const account = accountOf(level);
  const spent = state.lines.filter(
    (line) =>
      line.meter === "model_cost" &&
      accountOf(line) === account &&
      (shared || line.workspaceId === workspaceId),
  );
  return limit - sum(spent.map((line) => line.amount));
}

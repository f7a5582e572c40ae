import type { LimitLevel, LimitMeter, LimitRow, Raiser } from "@guildhall/sdk/contract/limit.ts";
import { operatorOnly, raisersOf } from "../raisers.ts";
import { metersOf } from "../limits.ts";
import type { TemporaryLimits } from "../temporary-limits.ts";
import { limitKey, type LimitChanges } from "./limit-changes.ts";
import type { LimitPeriods } from "./limit-reading.ts";
import type { PausedTasks, Waiting } from "./limit-waiting.ts";

/** One limit as it was read, before what all rows share is added. */
export type ReadLimit = {
  level: LimitLevel;
  scope_id: string;
  scope_name: string | null;
  meter: LimitMeter;
  window: LimitRow["window"];
  used: number;
  held: number;
  /** Where it is not the newest version. */
  max?: number | null;
  /** What waits otherwise than paused. */
  queue?: Waiting;
  /** The evaluator's word, where the figures are not the workspace's to know. */
  stopped?: boolean;
};

export type RowContext = {
  periods: LimitPeriods;
  changes: LimitChanges;
  paused: PausedTasks;
  temporary: TemporaryLimits;
  /** The caller may change limits. */
  mayChange: boolean;
};

/** What happens at the limit of a meter. */
const ON_HIT: Readonly<Record<LimitMeter, LimitRow["on_hit"]>> = {
  model_cost: "pause",
  agent_time: "pause",
  model_calls: "pause",
  tool_calls: "pause",
  concurrent_tasks: "queue",
  api_requests: "429",
  members: "refuse",
  storage_bytes: "refuse",
};

/** Slots and seats are there to be used: all of them taken is no stop as long as nobody waits for one. */
const SEATS: ReadonlySet<LimitMeter> = new Set(["concurrent_tasks", "members"]);

/** The default caps stand for every new task, under this id. */
export const EACH_NEW_TASK = "*";

const isShared = (level: LimitLevel): boolean => level === "owner" || level === "platform";

function periodOf(
  window: LimitRow["window"],
  periods: LimitPeriods,
): Pick<LimitRow, "period" | "resets_at"> {
  switch (window) {
    case "month":
      return { period: periods.month, resets_at: periods.monthEndsAt.toISOString() };
    case "day":
      return { period: periods.day, resets_at: periods.dayEndsAt.toISOString() };
    case "hour":
      return { period: "1 h", resets_at: null };
    case "task":
      return { period: "all", resets_at: null };
    case "now":
      return { period: "now", resets_at: null };
  }
}

const WARN_PART = 0.8;
const HIGH_PART = 0.95;

function statusOf(row: {
  used: number;
  held: number;
  max: number | null;
  waits: boolean;
  seats: boolean;
}): LimitRow["status"] {
  const { used, held, max } = row;
  if (row.waits) return "stopped";
  if (max === null) return "ok";
  if (used >= max) return row.seats ? "high" : "stopped";
  const part = (used + held) / max;
  if (part >= HIGH_PART) return "high";
  return part >= WARN_PART ? "warn" : "ok";
}

function isSettable(limit: ReadLimit): boolean {
  const { level, meter, scope_id: scopeId } = limit;
  if (level === "run" || level === "owner" || level === "platform") return false;
  return scopeId !== EACH_NEW_TASK && metersOf[level].some((known) => known === meter);
}

function whoRaises({ level, scope_id: scopeId, meter }: ReadLimit): Raiser[] {
  if (scopeId === EACH_NEW_TASK) return [];
  return meter === "storage_bytes" ? [...operatorOnly] : raisersOf(level);
}

/** Puts together what is told of one limit. */
export function toLimitRow(limit: ReadLimit, context: RowContext): LimitRow {
  const { level, scope_id: scopeId, meter, used, held } = limit;
  const { changes: allChanges, paused, periods, mayChange } = context;
  const changes = allChanges.get(limitKey(limit)) ?? [];
  const shared = isShared(level);
  const max = limit.max === undefined ? (changes[0]?.amount ?? null) : limit.max;
  const tasks = limit.queue ?? paused.at(limit);
  // A key's calls have nobody to pause: its caller is told.
  const onHit = level === "key" && ON_HIT[meter] === "pause" ? "402" : ON_HIT[meter];
  const waits = tasks.waiting_count > 0 || limit.stopped === true;
  return {
    level,
    scope_id: scopeId,
    scope_name: limit.scope_name,
    meter,
    window: limit.window,
    ...periodOf(limit.window, periods),
    used,
    held,
    left: max === null ? null : Math.max(0, max - used - held),
    max,
    temporary: context.temporary.get(limitKey(limit)) ?? null,
    version: shared || scopeId === EACH_NEW_TASK ? null : (changes[0]?.version ?? 0),
    on_hit: onHit,
    status: statusOf({ used, held, max, waits, seats: SEATS.has(meter) }),
    ...tasks,
    changes: [...changes],
    raised_by: whoRaises(limit),
    settable: mayChange && isSettable(limit),
  };
}

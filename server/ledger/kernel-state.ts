/** Levels of the budget tree from leaf to root. A run counts against its task and all of that task's ancestors. */
export const levelNames = [
  "run",
  "task",
  "agent",
  "key",
  "workspace",
  "owner",
  "platform",
] as const;
export type LevelName = (typeof levelNames)[number];
/** The levels that several workspaces share; they hand out chunks to the workspaces' own rows. */
export type TopLevel = "owner" | "platform";

export const holdStates = ["HELD", "DISPATCHED", "SETTLED", "PROVISIONAL", "VOID"] as const;
export type HoldState = (typeof holdStates)[number];

/** model_cost counts nano-USD, agent_time milliseconds. */
export type Meter = "model_cost" | "agent_time";

/** One account: `overrun` is the platform's own, for what a provider charged beyond a hold. */
export type AccountKey = { level: LevelName | "overrun"; scopeId: string; period: string };
export type LevelKey = AccountKey & { level: LevelName };

/** The balance of one account of one workspace. Limit null: none. */
export type Budget = AccountKey & {
  workspaceId: string;
  meter: Meter;
  limitVersion: number;
  limit: number | null;
  posted: number;
  held: number;
};

/** What all workspaces below a top level share in one period, and how much of it they have been handed. */
export type TopBudget = {
  level: TopLevel;
  scopeId: string;
  meter: Meter;
  period: string;
  limit: number;
  granted: number;
};

/** What a hold or slice saw at one level when it was admitted. */
export type SeenLevel = LevelKey & {
  limitVersion: number;
  limit: number | null;
  posted: number;
  held: number;
};

/** Why something was not admitted. Figures are those of the workspace's own row of that level. */
export type Refusal = {
  /** reserved: it would fit once open holds return; exhausted: it would not. */
  status: "reserved" | "exhausted";
  level: LevelName;
  scopeId: string;
  period: string;
  limit: number;
  posted: number;
  held: number;
  /** The least that the request could have done with. */
  needed: number;
};

export type Task = {
  agentId: string;
  parentTaskId: string | null;
  costLimitNanoUsd: number;
  agentTimeLimitMs: number;
  modelCallLimit: number;
};

/** `claimed` means with a live lease. */
export type Run = {
  workspaceId: string;
  taskId: string;
  epoch: number;
  state: "claimed" | "queued" | "parked" | "ended";
};

/** The reservation of one upstream attempt. */
export type Hold = {
  workspaceId: string;
  id: string;
  runId: string;
  callNo: number;
  attemptNo: number;
  epoch: number;
  ownerId: string;
  state: HoldState;
  /** The price table that it was admitted by; it is settled by the same. */
  priceVersion: string;
  amount: number;
  maxTokens: number;
  levels: readonly SeenLevel[];
  posted: number | null;
  overrun: number;
  heldAtMs: number;
};

/** Agent time booked ahead by one attempt. */
export type TimeSlice = {
  workspaceId: string;
  runId: string;
  sliceNo: number;
  epoch: number;
  grantedMs: number;
  returnedMs: number;
  levels: readonly SeenLevel[];
};

export type LineKind =
  | "settle"
  | "provisional"
  | "lowered"
  | "overrun"
  | "agent_time"
  | "agent_time_returned";

/** One booking on one account. Lines are only ever added. */
export type Line = AccountKey & {
  workspaceId: string;
  meter: Meter;
  kind: LineKind;
  amount: number;
  holdId?: string;
  runId: string;
};

export type Limit = { version: number; amount: number | null };

/** All that the ledger knows. Plain data: deciding makes a new one. */
export type State = {
  /** Milliseconds since 1970, UTC. */
  nowMs: number;
  /** workspace -> billing account */
  workspaces: ReadonlyMap<string, { ownerId: string }>;
  tasks: ReadonlyMap<string, Task>;
  runs: ReadonlyMap<string, Run>;
  limits: ReadonlyMap<string, Limit>;
  topLimits: ReadonlyMap<string, Limit>;
  budgets: ReadonlyMap<string, Budget>;
  tops: ReadonlyMap<string, TopBudget>;
  holds: ReadonlyMap<string, Hold>;
  slices: ReadonlyMap<string, TimeSlice>;
  lines: readonly Line[];
  /** process -> when it was last seen */
  processes: ReadonlyMap<string, number>;
  /** process that is known to have ended -> when that became known; it can never send anything again */
  endedProcesses: ReadonlyMap<string, number>;
};

export function emptyState(nowMs: number): State {
  return {
    nowMs,
    workspaces: new Map(),
    tasks: new Map(),
    runs: new Map(),
    limits: new Map(),
    topLimits: new Map(),
    budgets: new Map(),
    tops: new Map(),
    holds: new Map(),
    slices: new Map(),
    lines: [],
    processes: new Map(),
    endedProcesses: new Map(),
  };
}

export const budgetKey = (workspaceId: string, meter: Meter, key: AccountKey): string =>
  `${workspaceId}|${meter}|${key.level}|${key.scopeId}|${key.period}`;

export const limitKey = (
  workspaceId: string,
  meter: Meter,
  level: LevelName,
  scopeId: string,
): string => [workspaceId, meter, level, scopeId].join("|");

export const topLimitKey = (level: TopLevel, scopeId: string, meter: Meter): string =>
  [level, scopeId, meter].join("|");

export const topKey = (top: Pick<TopBudget, "level" | "scopeId" | "meter" | "period">): string =>
  [top.level, top.scopeId, top.meter, top.period].join("|");

export const isTopLevel = (level: AccountKey["level"]): level is TopLevel =>
  level === "owner" || level === "platform";

/** The UTC month, `2026-11`. */
export const monthOf = (nowMs: number): string => new Date(nowMs).toISOString().slice(0, 7);
/** The UTC day, `2026-11-23`. */
export const dayOf = (nowMs: number): string => new Date(nowMs).toISOString().slice(0, 10);

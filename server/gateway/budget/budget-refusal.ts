import type { ReserveOutcome } from "../../ledger/calls.ts";

/** What a 402 says. Amounts are nano-USD, except for a call limit, where they count calls. */
export type BudgetRefusal = {
  type: "budget_exhausted" | "call_limit_reached" | "workspace_suspended";
  /** `budget_reserved`: the money is there, but open calls held it for as long as the gateway waited. */
  code: "budget_exhausted" | "budget_reserved" | "call_limit_reached" | "workspace_suspended";
  message: string;
  details: Readonly<Record<string, unknown>>;
};

/** The budget level that refused, as the ledger reports it. */
export type RefusingLevel = Extract<ReserveOutcome, { status: "reserved" | "exhausted" }>;

/** When a budget period (`all`, `2026-11`, `2026-11-23`; UTC) turns; undefined when it never does. */
export function periodResetsAt(period: string): string | undefined {
  const match = /^(\d{4})-(\d{2})(?:-(\d{2}))?$/.exec(period);
  if (!match) return undefined;
  const [year, month, day] = match
    .slice(1)
    .map((part) => (part === undefined ? undefined : Number(part)));
  if (year === undefined || month === undefined) return undefined;
  const next = day === undefined ? Date.UTC(year, month, 1) : Date.UTC(year, month - 1, day + 1);
  return new Date(next).toISOString();
}

/** Shows nano-USD as dollars with as many digits as needed, by integer arithmetic. */
export function dollars(nanoUsd: number): string {
  const whole = Math.trunc(nanoUsd / 1_000_000_000);
  const rest = String(nanoUsd % 1_000_000_000)
    .padStart(9, "0")
    .replace(/0{1,7}$/, "");
  return `$${whole}.${rest}`;
}

const LEVEL_NAMES: Readonly<Record<string, string>> = {
  run: "this run",
  task: "this task",
  agent: "this agent",
  key: "this API key",
  workspace: "the workspace",
  owner: "the billing account",
  platform: "this installation",
};

/** Explains which budget has no room for the smallest useful call, and when that changes. */
export function describeBudgetRefusal(level: RefusingLevel): BudgetRefusal {
  const resetsAt = periodResetsAt(level.period);
  const whose = LEVEL_NAMES[level.level] ?? level.level;
  const figures = `${dollars(level.needed)} is needed, ${dollars(level.posted)} is spent and ${dollars(level.held)} is held by open calls, of ${dollars(level.limit)}`;
  const next =
    resetsAt === undefined ? "Raise the limit." : `Raise the limit, or wait until ${resetsAt}.`;
  const reserved = level.status === "reserved";
  return {
    type: "budget_exhausted",
    code: reserved ? "budget_reserved" : "budget_exhausted",
    message: reserved
      ? `The budget of ${whose} is held by other open calls: ${figures}. Try again when they have ended.`
      : `The budget of ${whose} has no room for this call: ${figures}. ${next}`,
    details: {
      status: level.status,
      meter: "model_cost",
      level: level.level,
      scope_id: level.scopeId,
      period: level.period,
      limit: level.limit,
      posted: level.posted,
      held: level.held,
      needed: level.needed,
      ...(resetsAt === undefined ? {} : { resets_at: resetsAt }),
    },
  };
}

/** Explains that a run has made as many model calls as its task allows. */
export function describeCallLimit(limit: number): BudgetRefusal {
  return {
    type: "call_limit_reached",
    code: "call_limit_reached",
    message: `This task may make ${limit} model calls and has made them. Raise its limit to go on.`,
    details: { meter: "model_calls", level: "task", limit },
  };
}

/** Explains that the operator, or a guard of the operator's, has stopped all spending of the workspace. */
export function describeSuspension(reason: string): BudgetRefusal {
  return {
    type: "workspace_suspended",
    code: "workspace_suspended",
    message: `This workspace may not spend at present (${reason}). Ask whoever runs this installation to lift that; tasks go on by themselves then.`,
    details: { reason },
  };
}

import type { z } from "zod";
import type {
  limitSchema,
  overageSchema,
  setLimitSchema,
  setOverageSchema,
} from "@guildhall/sdk/contract/workspace.ts";
import { appendAudit } from "../audit/audit.ts";
import { dollars } from "../gateway/budget/budget-refusal.ts";
import { setLimit } from "../ledger/limits.ts";
import { setOverage, setOwnCap } from "../ledger/plan-terms.ts";
import type { Clock } from "../platform/clock.ts";
import type { Db, WorkspaceTx } from "../platform/db.ts";
import { AppError, invariant } from "../platform/errors.ts";
import { validationFailed } from "../platform/http-errors.ts";
import type { Caller } from "./caller.ts";
import { checkUntil, noteTemporary } from "./temporary-limits.ts";
import type { TaskBell } from "./tasks.ts";

export type Limit = z.infer<typeof limitSchema>;
type SetLimit = z.infer<typeof setLimitSchema>;
type SetOverage = z.infer<typeof setOverageSchema>;
type Overage = z.infer<typeof overageSchema>;

export type Limits = {
  /**
   * Sets a limit; it counts from the next admission on, and tasks that it paused may go on. Throws
   * `validation_failed` (400), `limit_not_supported`, `limit_scope_not_found` and `limit_beyond_plan` (422).
   */
  set(request: { caller: Caller; body: SetLimit }): Promise<Limit>;
  /**
   * Opts in to so much beyond what the plan includes. Throws `limit_not_supported` (422) when it includes no amount.
   */
  setOverage(request: { caller: Caller; body: SetOverage }): Promise<Overage>;
};

function notSupported(publicMessage: string, field: string): AppError {
  return new AppError({
    code: "limit_not_supported",
    status: 422,
    publicMessage,
    hint: "Workspaces have all meters but calls; agents model_cost and agent_time; tasks these two, model_calls and tool_calls; keys model_cost.",
    fields: [{ field, message: publicMessage }],
  });
}

function scopeNotFound(level: string): AppError {
  return new AppError({
    code: "limit_scope_not_found",
    status: 422,
    publicMessage: `There is no such ${level}.`,
    hint: `Give the id of one of the workspace's ${level}s as scope_id.`,
    fields: [{ field: "scope_id", message: `There is no such ${level}.` }],
  });
}

const units: Readonly<Partial<Record<SetLimit["meter"], string>>> = {
  model_cost: " nano-USD",
  agent_time: " ms",
};

function beyondPlan(meter: SetLimit["meter"], most: number): AppError {
  const shown = meter === "model_cost" ? ` (${dollars(most)})` : "";
  const message = `The plan of the workspace allows ${most}${units[meter] ?? ""}${shown} of ${meter} at most.`;
  return new AppError({
    code: "limit_beyond_plan",
    status: 422,
    publicMessage: message,
    hint: "Opt in to overage by PUT /v1/limits/overage, or ask the operator for a larger plan.",
    fields: [{ field: "amount", message }],
    extensions: { most },
  });
}

/** What can be limited at each level by the workspace itself. */
export const metersOf: Readonly<Record<SetLimit["level"], readonly SetLimit["meter"][]>> = {
  workspace: ["model_cost", "agent_time", "concurrent_tasks", "api_requests", "members"],
  agent: ["model_cost", "agent_time"],
  task: ["model_cost", "agent_time", "model_calls", "tool_calls"],
  // No agent works in a key's calls.
  key: ["model_cost"],
};

/** A task's numbers of calls stand in its own row, where an admission reads them; the version tells who changed them. */
const callMeters = {
  model_calls: { column: "model_call_limit", most: 10_000 },
  tool_calls: { column: "tool_call_limit", most: 100_000 },
} as const;

function isCallMeter(meter: SetLimit["meter"]): meter is keyof typeof callMeters {
  return Object.hasOwn(callMeters, meter);
}

function check(body: SetLimit): void {
  if (body.level !== "workspace" && body.scope_id === undefined)
    throw validationFailed([{ field: "scope_id", message: `is required for a ${body.level}` }]);
  if (!metersOf[body.level].includes(body.meter))
    throw notSupported(
      `${body.level === "agent" ? "An" : "A"} ${body.level} has no limit of ${body.meter}.`,
      "meter",
    );
  const most = isCallMeter(body.meter) ? callMeters[body.meter].most : undefined;
  if (most !== undefined && body.amount !== null && body.amount > most)
    throw validationFailed([{ field: "amount", message: `must be at most ${most}` }]);
  if (body.level === "task" && body.amount === null)
    throw notSupported("A task always has a limit.", "amount");
}

/** The id that the limit is about, checked to be the workspace's own. */
async function requireScope(tx: WorkspaceTx, body: SetLimit): Promise<string> {
  const scopeId = body.scope_id ?? tx.workspaceId;
  if (body.level === "workspace") {
    if (scopeId !== tx.workspaceId) throw scopeNotFound("workspace");
    return scopeId;
  }
  const table = { agent: "agents", task: "tasks", key: "api_keys" }[body.level];
  const rows = await tx.query({
    text: `SELECT id FROM ${table} WHERE workspace_id = current_workspace() AND id = $1`,
    values: [scopeId],
  });
  if (rows.length === 0) throw scopeNotFound(body.level);
  return scopeId;
}

async function storeCalls(
  tx: WorkspaceTx,
  change: { meter: keyof typeof callMeters; taskId: string; amount: number | null; actor: string },
): Promise<{ amount: number | null; version: number }> {
  const { meter, taskId, amount, actor } = change;
  await tx.query({
    text: `UPDATE tasks SET ${callMeters[meter].column} = $1 WHERE workspace_id = current_workspace() AND id = $2`,
    values: [amount, taskId],
  });
  const [row] = await tx.query<{ version: number }>({
    text: "SELECT set_limit($1, 'task', $2, $3, $4) AS version",
    values: [meter, taskId, amount, actor],
  });
  invariant(row, "set_limit answers the version");
  return { amount, version: row.version };
}

/** Writes the limit. What a workspace sets for itself stays within its plan. */
async function store(
  tx: WorkspaceTx,
  body: SetLimit,
  { scopeId, actor }: { scopeId: string; actor: string },
): Promise<{ amount: number | null; version: number }> {
  const { meter, level, amount } = body;
  if (isCallMeter(meter)) return storeCalls(tx, { meter, taskId: scopeId, amount, actor });
  const change = { meter, level, scopeId, amount, actor };
  if (change.level !== "workspace")
    return { amount: change.amount, version: await setLimit(tx, change) };
  const answer = await setOwnCap(tx, change);
  if (answer.status === "beyond_plan") throw beyondPlan(change.meter, answer.most);
  return answer;
}

async function changeLimit(tx: WorkspaceTx, caller: Caller, body: SetLimit): Promise<Limit> {
  const scopeId = await requireScope(tx, body);
  const [before] = await tx.query<{ amount: number | null }>({
    text: `SELECT amount FROM limits WHERE workspace_id = current_workspace() AND meter = $1 AND level = $2 AND scope_id = $3
      ORDER BY version DESC LIMIT 1`,
    values: [body.meter, body.level, scopeId],
  });
  const { meter, level } = body;
  await noteTemporary(tx, { meter, level, scopeId, until: body.until });
  const { amount, version } = await store(tx, body, { scopeId, actor: caller.actor });
  await appendAudit(tx, {
    actor: caller.actor,
    origin: caller.origin,
    action: "limit.set",
    target: `${meter}/${level}/${scopeId}`,
    ...(before === undefined ? {} : { before: before.amount }),
    after: body.until === undefined ? amount : { amount, until: body.until },
  });
  const until = body.until === undefined ? {} : { until: body.until };
  return { meter, level, scope_id: scopeId, amount, version, ...until };
}

async function changeOverage(
  tx: WorkspaceTx,
  caller: Caller,
  { meter, amount }: SetOverage,
): Promise<Overage> {
  const answer = await setOverage(tx, { meter, amount, actor: caller.actor });
  if (answer.status === "nothing_included")
    throw notSupported(
      `The plan includes no amount of ${meter}, so nothing is beyond it.`,
      "meter",
    );
  await appendAudit(tx, {
    actor: caller.actor,
    origin: caller.origin,
    action: "overage.set",
    target: `${meter}/workspace/${tx.workspaceId}`,
    before: answer.before,
    after: { overage: amount, inForce: answer.amount },
  });
  return { meter, amount, limit: answer.amount, version: answer.version };
}

export function createLimits(options: { db: Db; bell: TaskBell; clock: Clock }): Limits {
  return {
    async set({ caller, body }) {
      check(body);
      checkUntil(body.until, options.clock.now().getTime());
      const limit = await options.db.withWorkspace(caller.workspaceId, (tx) =>
        changeLimit(tx, caller, body),
      );
      options.bell.runReady();
      return limit;
    },
    async setOverage({ caller, body }) {
      const overage = await options.db.withWorkspace(caller.workspaceId, (tx) =>
        changeOverage(tx, caller, body),
      );
      options.bell.runReady();
      return overage;
    },
  };
}

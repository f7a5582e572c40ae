import type { z } from "zod";
import type { limitSchema, setLimitSchema } from "@guildhall/sdk/contract/workspace.ts";
import { appendAudit } from "../audit/audit.ts";
import { setLimit } from "../ledger/limits.ts";
import type { Db, WorkspaceTx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { validationFailed } from "../platform/http-errors.ts";
import type { Caller } from "./caller.ts";
import type { TaskBell } from "./tasks.ts";

export type Limit = z.infer<typeof limitSchema>;
type SetLimit = z.infer<typeof setLimitSchema>;

export type Limits = {
  /**
   * Sets a limit; it counts from the next admission on, and tasks that it paused may go on. Throws
   * `validation_failed` (400), `limit_not_supported` and `limit_scope_not_found` (422).
   */
  set(request: { caller: Caller; body: SetLimit }): Promise<Limit>;
};

function notSupported(publicMessage: string, field: string): AppError {
  return new AppError({
    code: "limit_not_supported",
    status: 422,
    publicMessage,
    hint: "Workspaces have all three meters; agents and tasks have model_cost and agent_time.",
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

function check(body: SetLimit): void {
  if (body.level !== "workspace" && body.scope_id === undefined)
    throw validationFailed([{ field: "scope_id", message: `is required for a ${body.level}` }]);
  if (body.level !== "workspace" && body.meter === "concurrent_tasks")
    throw notSupported(`A ${body.level} has no limit of concurrent tasks.`, "meter");
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
  const table = body.level === "agent" ? "agents" : "tasks";
  const rows = await tx.query({
    text: `SELECT id FROM ${table} WHERE workspace_id = current_workspace() AND id = $1`,
    values: [scopeId],
  });
  if (rows.length === 0) throw scopeNotFound(body.level);
  return scopeId;
}

async function changeLimit(tx: WorkspaceTx, caller: Caller, body: SetLimit): Promise<Limit> {
  const scopeId = await requireScope(tx, body);
  const [before] = await tx.query<{ amount: number | null }>({
    text: `SELECT amount FROM limits WHERE workspace_id = current_workspace() AND meter = $1 AND level = $2 AND scope_id = $3
      ORDER BY version DESC LIMIT 1`,
    values: [body.meter, body.level, scopeId],
  });
  const { meter, level, amount } = body;
  const version = await setLimit(tx, { meter, level, scopeId, amount, actor: caller.actor });
  await appendAudit(tx, {
    actor: caller.actor,
    origin: caller.origin,
    action: "limit.set",
    target: `${meter}/${level}/${scopeId}`,
    ...(before === undefined ? {} : { before: before.amount }),
    after: amount,
  });
  return { meter, level, scope_id: scopeId, amount, version };
}

export function createLimits(options: { db: Db; bell: TaskBell }): Limits {
  return {
    async set({ caller, body }) {
      check(body);
      const limit = await options.db.withWorkspace(caller.workspaceId, (tx) =>
        changeLimit(tx, caller, body),
      );
      options.bell.runReady();
      return limit;
    },
  };
}

import type { LimitLevel, LimitMeter } from "@guildhall/sdk/contract/limit.ts";
import type { WorkspaceTx } from "../../platform/db.ts";
import { invariant } from "../../platform/errors.ts";

/** The moment of a reading, by the database's clock, as budgets count in it. */
export type LimitPeriods = {
  workspaceName: string;
  /** Why the workspace is stopped; null while it is not. */
  suspended: string | null;
  month: string;
  day: string;
  monthEndsAt: Date;
  dayEndsAt: Date;
};

export async function readPeriods(tx: WorkspaceTx): Promise<LimitPeriods> {
  const [row] = await tx.query<LimitPeriods>({
    name: "limit_periods",
    text: `SELECT w.name AS "workspaceName", w.suspended, to_char(n.utc, 'YYYY-MM') AS month, to_char(n.utc, 'YYYY-MM-DD') AS day,
        (date_trunc('month', n.utc) + interval '1 month') AT TIME ZONE 'UTC' AS "monthEndsAt",
        (date_trunc('day', n.utc) + interval '1 day') AT TIME ZONE 'UTC' AS "dayEndsAt"
      FROM workspaces w, (SELECT clock_now() AT TIME ZONE 'UTC' AS utc) n WHERE w.workspace_id = current_workspace()`,
    values: [],
  });
  invariant(row, "a workspace transaction has its workspace");
  return row;
}

/** What one level used of one meter in the period in force. */
export type LevelUse = {
  level: LimitLevel;
  scope_id: string;
  meter: LimitMeter;
  used: number;
  held: number;
};

/** Use of the levels that count by month or day; a level that nothing was booked at yet has no row. */
export function readLevelUse(tx: WorkspaceTx, periods: LimitPeriods): Promise<LevelUse[]> {
  return tx.query({
    name: "limit_level_use",
    text: `SELECT b.level, b.scope_id, b.meter, b.posted AS used, b.held FROM budgets b
      WHERE b.workspace_id = current_workspace() AND b.meter IN ('model_cost', 'agent_time')
        AND b.level IN ('agent', 'key', 'workspace', 'owner', 'platform') AND b.period IN ($1, $2)`,
    values: [periods.month, periods.day],
  });
}

/** How many runs wait for a slot. */
export async function countQueued(tx: WorkspaceTx): Promise<number> {
  const [row] = await tx.query<{ queued: number }>({
    name: "limit_queued",
    text: "SELECT count(*) AS queued FROM runs r WHERE r.workspace_id = current_workspace() AND r.state = 'queued'",
    values: [],
  });
  return row?.queued ?? 0;
}

/** One cap of one task. */
export type TaskUse = {
  scope_id: string;
  title: string;
  meter: LimitMeter;
  max: number;
  used: number;
  held: number;
};

const inForce = (meter: string, own: string): string =>
  `coalesce((SELECT l.amount FROM limits l WHERE l.workspace_id = t.workspace_id AND l.meter = '${meter}' AND l.level = 'task'
     AND l.scope_id = t.id ORDER BY l.version DESC LIMIT 1), t.${own})`;

const budgetOf = (meter: string, own: string): string =>
  `SELECT '${meter}' AS meter, ${inForce(meter, own)} AS max, coalesce(b.posted, 0) AS used, coalesce(b.held, 0) AS held
     FROM (VALUES (1)) one LEFT JOIN budgets b ON b.workspace_id = t.workspace_id AND b.meter = '${meter}' AND b.level = 'task' AND b.scope_id = t.id AND b.period = 'all'`;

/**
 * Caps of tasks that began and have not ended, where they matter: what is paused at one, and what has used four fifths
 * of one. Paused ones first, at most 200.
 */
export function readTaskUse(tx: WorkspaceTx): Promise<TaskUse[]> {
  return tx.query({
    name: "limit_task_use",
    text: `WITH stopped AS (
        SELECT DISTINCT p.parked->>'scope_id' AS task_id, p.parked->>'meter' AS meter FROM tasks p
          WHERE p.workspace_id = current_workspace() AND p.state = 'paused' AND p.parked->>'level' = 'task'
      )
      SELECT t.id AS scope_id, t.title, m.meter, m.max, m.used, m.held
      FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id AND t.started_at IS NOT NULL
      CROSS JOIN LATERAL (
        ${budgetOf("model_cost", "cost_limit_nano_usd")}
        UNION ALL ${budgetOf("agent_time", "agent_time_limit_ms")}
        UNION ALL SELECT 'model_calls', t.model_call_limit, coalesce((SELECT max(h.call_no) FROM holds h WHERE h.workspace_id = r.workspace_id AND h.run_id = r.id), 0), 0
        UNION ALL SELECT 'tool_calls', t.tool_call_limit, (SELECT count(*) FROM steps s WHERE s.workspace_id = r.workspace_id AND s.run_id = r.id AND s.kind = 'tool'), 0
      ) m
      LEFT JOIN stopped ON stopped.task_id = t.id AND stopped.meter = m.meter
      WHERE r.workspace_id = current_workspace() AND r.state <> 'ended' AND (stopped.task_id IS NOT NULL OR m.used + m.held >= m.max::numeric * 4 / 5)
      ORDER BY stopped.task_id IS NULL, t.id DESC, m.meter LIMIT 200`,
    values: [],
  });
}

/** What each shared level says to the smallest step. Its figures are not the workspace's to know. */
export async function readSharedLevels(
  tx: WorkspaceTx,
  meter: "model_cost" | "agent_time",
): Promise<{ level: LimitLevel; scope_id: string; period: string; outcome: string }[]> {
  return tx.query({
    name: "limit_shared_levels",
    text: "SELECT level, scope_id, period, outcome FROM check_limits($1, NULL, NULL, NULL, 1) WHERE level IN ('owner', 'platform')",
    values: [meter],
  });
}

/** Names of agents and keys by id. */
export async function readScopeNames(tx: WorkspaceTx): Promise<ReadonlyMap<string, string>> {
  const rows = await tx.query<{ id: string; name: string }>({
    name: "limit_scope_names",
    text: `SELECT 'agent ' || a.id AS id, a.name FROM agents a WHERE a.workspace_id = current_workspace()
      UNION ALL SELECT 'key ' || k.id, k.name FROM api_keys k WHERE k.workspace_id = current_workspace()`,
    values: [],
  });
  return new Map(rows.map((row) => [row.id, row.name]));
}

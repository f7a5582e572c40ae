import type { z } from "zod";
import type { meterUsageSchema, Usage } from "@guildhall/sdk/contract/workspace.ts";
import type { WorkspaceTx } from "../platform/db.ts";
import { leastIdAt } from "../platform/ids.ts";
import { readCounted } from "./counted-usage.ts";

type MeterUsage = z.infer<typeof meterUsageSchema>;

/** The current month of the database's clock, UTC: what budgets count in. */
const MONTH = `to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM')`;
const MONTH_START = `(date_trunc('month', clock_now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')`;
const MONTH_END = `((date_trunc('month', clock_now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC')`;

/** The newest version of the workspace's own limit of a meter. */
const limitOf = (meter: string): string =>
  `(SELECT l.amount FROM limits l WHERE l.workspace_id = current_workspace() AND l.meter = ${meter} AND l.level = 'workspace'
     AND l.scope_id = current_workspace() ORDER BY l.version DESC LIMIT 1)`;

/** The meters that can be limited, with what is used of them now. */
export async function readMeters(tx: WorkspaceTx): Promise<MeterUsage[]> {
  type Row = Omit<MeterUsage, "resets_at"> & { resets_at: Date | null };
  const rows = await tx.query<Row>({
    name: "usage_meters",
    text: `SELECT m.meter, coalesce(b.posted, 0) AS used, coalesce(b.held, 0) AS held, ${limitOf("m.meter")} AS "limit", ${MONTH} AS period, ${MONTH_END} AS resets_at
        FROM (VALUES ('model_cost'), ('agent_time')) AS m(meter)
        LEFT JOIN budgets b ON b.workspace_id = current_workspace() AND b.meter = m.meter AND b.level = 'workspace' AND b.scope_id = current_workspace() AND b.period = ${MONTH}
      UNION ALL
      SELECT 'concurrent_tasks', count(*), 0, ${limitOf("'concurrent_tasks'")}, 'now', NULL
        FROM runs r WHERE r.workspace_id = current_workspace() AND r.slot_no IS NOT NULL
      UNION ALL
      -- Of the last two minutes it is told what was spent and what is leased, of those before all that was not given back.
      SELECT 'api_requests', coalesce(sum(CASE WHEN q.minute >= q.this - 1 THEN q.spent ELSE q.granted END), 0)::bigint,
          coalesce(sum(CASE WHEN q.minute >= q.this - 1 THEN q.granted - q.spent ELSE 0 END), 0)::bigint, ${limitOf("'api_requests'")}, 'hour', NULL
        FROM (SELECT l.*, m.this FROM (SELECT floor(extract(epoch FROM clock_now()) / 60)::int AS this) m JOIN request_leases l
          ON l.workspace_id = current_workspace() AND l.minute >= m.this - 60) q
      UNION ALL
      SELECT 'members', count(*), 0, ${limitOf("'members'")}, 'now', NULL FROM memberships m WHERE m.workspace_id = current_workspace()`,
    values: [],
  });
  return rows.map((row) => ({ ...row, resets_at: row.resets_at?.toISOString() ?? null }));
}

function readByAgent(tx: WorkspaceTx): Promise<Usage["by_agent"]> {
  return tx.query({
    name: "usage_by_agent",
    text: `SELECT a.id AS agent_id, (SELECT count(*) FROM tasks t WHERE t.workspace_id = a.workspace_id AND t.agent_id = a.id AND t.created_at >= ${MONTH_START}) AS tasks,
        coalesce(b.posted, 0) AS spent_nano_usd
      FROM agents a LEFT JOIN budgets b ON b.workspace_id = a.workspace_id AND b.meter = 'model_cost' AND b.level = 'agent' AND b.scope_id = a.id AND b.period = ${MONTH}
      WHERE a.workspace_id = current_workspace() ORDER BY spent_nano_usd DESC, a.desk, a.id`,
    values: [],
  });
}

function readByKey(tx: WorkspaceTx): Promise<Usage["by_key"]> {
  return tx.query({
    name: "usage_by_key",
    text: `SELECT k.id AS key_id, k.name, b.posted AS spent_nano_usd, b.limit_amount AS limit_nano_usd
      FROM budgets b JOIN api_keys k ON k.workspace_id = b.workspace_id AND k.id = b.scope_id
      WHERE b.workspace_id = current_workspace() AND b.meter = 'model_cost' AND b.level = 'key' AND b.period = ${MONTH}
      ORDER BY spent_nano_usd DESC, k.id`,
    values: [],
  });
}

/** Ids are in the order of time, by the clock of who made them: a month of room for clocks that differ. */
function leastHoldId(): string {
  const now = new Date();
  return leastIdAt("hold", Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 1, 1));
}

function readByModel(tx: WorkspaceTx): Promise<Usage["by_model"]> {
  return tx.query({
    name: "usage_by_model",
    text: `SELECT h.model, count(*) FILTER (WHERE h.posted > 0) AS calls, coalesce(sum(h.posted), 0)::bigint AS spent_nano_usd,
        coalesce(sum((h.usage->>'input_tokens')::bigint), 0)::bigint AS input_tokens,
        coalesce(sum((h.usage->>'cache_read_input_tokens')::bigint), 0)::bigint AS cache_read_tokens,
        coalesce(sum((h.usage->>'cache_creation_5m_input_tokens')::bigint + (h.usage->>'cache_creation_1h_input_tokens')::bigint), 0)::bigint AS cache_write_tokens,
        coalesce(sum((h.usage->>'output_tokens')::bigint), 0)::bigint AS output_tokens
      FROM holds h WHERE h.workspace_id = current_workspace() AND h.id >= $1 AND h.state IN ('SETTLED', 'PROVISIONAL') AND h.held_at >= ${MONTH_START}
      GROUP BY h.model ORDER BY spent_nano_usd DESC, h.model`,
    values: [leastHoldId()],
  });
}

function readByDay(tx: WorkspaceTx): Promise<Usage["by_day"]> {
  return tx.query({
    name: "usage_by_day",
    text: `WITH spent AS (
        SELECT to_char(l.at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, sum(l.amount)::bigint AS amount FROM ledger_lines l
          WHERE l.workspace_id = current_workspace() AND l.meter = 'model_cost' AND l.budget_ids @> (SELECT array_agg(b.id) FROM budgets b
            WHERE b.workspace_id = current_workspace() AND b.meter = 'model_cost' AND b.level = 'workspace' AND b.period = ${MONTH}) GROUP BY 1
      ), made AS (
        SELECT to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*) AS tasks FROM tasks t
          WHERE t.workspace_id = current_workspace() AND t.created_at >= ${MONTH_START} GROUP BY 1
      )
      SELECT day, coalesce(s.amount, 0) AS spent_nano_usd, coalesce(m.tasks, 0) AS tasks FROM spent s FULL JOIN made m USING (day) ORDER BY day`,
    values: [],
  });
}

/** What the workspace used in the current month (UTC), and where it went. */
export async function readUsage(tx: WorkspaceTx): Promise<Omit<Usage, "simulated">> {
  return {
    meters: await readMeters(tx),
    by_agent: await readByAgent(tx),
    by_key: await readByKey(tx),
    by_model: await readByModel(tx),
    by_day: await readByDay(tx),
    counted: await readCounted(tx),
  };
}

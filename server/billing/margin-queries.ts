import type { PlanName } from "../ledger/plans.ts";
import type { Statement, Tx } from "../platform/db.ts";

/** What the database knows of a workspace's month. */
export type FigureRow = {
  workspace_id: string;
  plan: PlanName;
  suspended: string | null;
  period: string;
  posted: number;
  held: number;
  agent_time_ms: number;
  cost_included: number | null;
  cost_overage: number;
  agent_time_included: number | null;
  agent_time_overage: number;
  /** Balance of the overrun account, of all months. */
  overrun: number;
  storage_bytes: number;
  /** Of the last measurement in this month; null when this is the first. */
  storage_mib_s: number | null;
  elapsed_s: number | null;
  overrun_before: number | null;
  measured_before: boolean;
  paused_held: number | null;
};

const MONTH = `to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM')`;

/** One measurement at a time, for each adds the time since the last one. */
export const takeMeasureLock: Statement = {
  text: "SELECT pg_try_advisory_xact_lock(hashtextextended('measure_margins', 0)) AS taken",
  values: [],
};

/** The terms in force of one meter. */
const termsOf = (meter: string): string =>
  `SELECT CASE WHEN x.is_overridden THEN x.override_amount ELSE x.included END AS included, x.overage FROM limit_terms x
        WHERE x.workspace_id = w.workspace_id AND x.meter = '${meter}' ORDER BY x.version DESC LIMIT 1`;

/** `busyOnly` leaves what files take at what was measured last. API keys spend without a run: those are seen by their holds. */
export function readFigures(tx: Tx, busyOnly: boolean): Promise<FigureRow[]> {
  return tx.query<FigureRow>({
    name: busyOnly ? "margin_figures_busy" : "margin_figures",
    text: `SELECT w.workspace_id, w.plan, w.suspended, ${MONTH} AS period, coalesce(c.posted, 0) AS posted, coalesce(c.held, 0) AS held,
        coalesce(t.posted, 0) AS agent_time_ms, ct.included AS cost_included, coalesce(ct.overage, 0) AS cost_overage, tt.included AS agent_time_included, coalesce(tt.overage, 0) AS agent_time_overage,
        coalesce(o.posted, 0) AS overrun,
        ${busyOnly ? "coalesce(m.storage_bytes, 0)" : "coalesce(f.used_bytes, 0)"} AS storage_bytes,
        m.storage_mib_s, extract(epoch FROM clock_now() - m.measured_at)::bigint AS elapsed_s, m.overrun_before, m.paused_held,
        EXISTS (SELECT FROM workspace_margins e WHERE e.workspace_id = w.workspace_id) AS measured_before
      FROM workspaces w
      LEFT JOIN budgets c ON c.workspace_id = w.workspace_id AND c.meter = 'model_cost' AND c.level = 'workspace' AND c.scope_id = w.workspace_id AND c.period = ${MONTH}
      LEFT JOIN LATERAL (${termsOf("model_cost")}) ct ON true
      LEFT JOIN LATERAL (${termsOf("agent_time")}) tt ON true
      LEFT JOIN budgets t ON t.workspace_id = w.workspace_id AND t.meter = 'agent_time' AND t.level = 'workspace' AND t.scope_id = w.workspace_id AND t.period = ${MONTH}
      LEFT JOIN budgets o ON o.workspace_id = w.workspace_id AND o.meter = 'model_cost' AND o.level = 'overrun' AND o.scope_id = 'platform' AND o.period = 'all'
      LEFT JOIN workspace_margins m ON m.workspace_id = w.workspace_id AND m.period = ${MONTH}
      ${
        busyOnly
          ? `WHERE w.workspace_id IN (SELECT r.workspace_id FROM runs r WHERE r.state = 'claimed'
              UNION SELECT h.workspace_id FROM holds h WHERE h.state IN ('HELD', 'DISPATCHED')
              UNION SELECT h.workspace_id FROM holds h WHERE h.held_at > clock_now() - interval '10 seconds')`
          : "LEFT JOIN workspace_storage f ON f.workspace_id = w.workspace_id"
      }
      ORDER BY w.workspace_id`,
    values: [],
  });
}

/** A measured month, as it is stored. Amounts are nano-USD. */
export type MarginRow = {
  workspace_id: string;
  period: string;
  plan: PlanName;
  revenue: number;
  model_cost: number;
  held: number;
  agent_time_ms: number;
  agent_cost: number;
  storage_bytes: number;
  storage_mib_s: number;
  storage_cost: number;
  overrun_before: number;
  allowed: number | null;
};

/** `busyOnly` leaves what was measured of files, and when, as it is: a short time since then would be rounded off. */
export async function storeMargins(
  tx: Tx,
  rows: readonly MarginRow[],
  busyOnly: boolean,
): Promise<void> {
  const ofFiles = busyOnly
    ? ""
    : ", storage_bytes = excluded.storage_bytes, storage_mib_s = excluded.storage_mib_s, measured_at = excluded.measured_at";
  await tx.query({
    name: busyOnly ? "store_margins_busy" : "store_margins",
    text: `INSERT INTO workspace_margins AS m (workspace_id, period, plan, revenue, model_cost, held, agent_time_ms, agent_cost, storage_bytes,
          storage_mib_s, storage_cost, overrun_before, allowed, measured_at)
        SELECT r.workspace_id, r.period, r.plan, r.revenue, r.model_cost, r.held, r.agent_time_ms, r.agent_cost, r.storage_bytes,
            r.storage_mib_s, r.storage_cost, r.overrun_before, r.allowed, clock_now()
          FROM jsonb_to_recordset($1::jsonb) AS r(workspace_id text, period text, plan text, revenue bigint, model_cost bigint, held bigint, agent_time_ms bigint,
            agent_cost bigint, storage_bytes bigint, storage_mib_s bigint, storage_cost bigint, overrun_before bigint, allowed bigint)
      ON CONFLICT (workspace_id, period) DO UPDATE SET plan = excluded.plan, revenue = excluded.revenue, model_cost = excluded.model_cost, held = excluded.held,
        agent_time_ms = excluded.agent_time_ms, agent_cost = excluded.agent_cost, storage_cost = excluded.storage_cost, allowed = excluded.allowed${ofFiles}`,
    values: [JSON.stringify(rows)],
  });
}

/** Pauses or lifts as the guard; `paused_held` remembers what was open then. -> whether anything changed */
export async function setGuarded(
  tx: Tx,
  change: { workspaceId: string; period: string; pausedHeldNanoUsd: number | null },
): Promise<boolean> {
  const { workspaceId, period, pausedHeldNanoUsd } = change;
  const reason = pausedHeldNanoUsd === null ? null : "margin_guard";
  const [row] = await tx.query<{ changed: boolean }>({
    text: "SELECT set_suspended($1, $2, 'system:margin_guard') AS changed",
    values: [workspaceId, reason],
  });
  if (row?.changed !== true) return false;
  await tx.query({
    text: "UPDATE workspace_margins SET paused_held = $3 WHERE workspace_id = $1 AND period = $2",
    values: [workspaceId, period, pausedHeldNanoUsd],
  });
  return true;
}

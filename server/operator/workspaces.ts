import type { Db } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";

/** A workspace's month as the operator sees it. Amounts are nano-USD. */
export type WorkspaceMargin = {
  workspace_id: string;
  name: string;
  plan: string;
  period: string;
  revenue_nano_usd: number;
  model_cost_nano_usd: number;
  agent_cost_nano_usd: number;
  storage_cost_nano_usd: number;
  cost_nano_usd: number;
  /** What open calls may still cost. */
  held_nano_usd: number;
  margin_nano_usd: number;
  /** null: it brings in nothing that a part could be left of. */
  margin_percent: number | null;
  /** Cost from which on the margin guard pauses it; null: it is not guarded. */
  allowed_nano_usd: number | null;
  /** Reason code; null: not suspended. */
  suspended: string | null;
  measured_at: string;
};

type Row = Omit<WorkspaceMargin, "margin_nano_usd" | "margin_percent" | "measured_at"> & {
  measured_at: Date;
};

/** The current month of every workspace as it was last measured, the worst margin first. */
export async function readMargins(db: Db): Promise<WorkspaceMargin[]> {
  const rows = await db.withPlatform((tx) =>
    tx.query<Row>({
      text: `SELECT w.workspace_id, w.name, m.plan, m.period, m.revenue AS revenue_nano_usd, m.model_cost AS model_cost_nano_usd,
          m.agent_cost AS agent_cost_nano_usd, m.storage_cost AS storage_cost_nano_usd, m.model_cost + m.agent_cost + m.storage_cost AS cost_nano_usd,
          m.held AS held_nano_usd, m.allowed AS allowed_nano_usd, w.suspended, m.measured_at
        FROM workspace_margins m JOIN workspaces w USING (workspace_id)
        WHERE m.period = to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM')
        ORDER BY m.revenue - m.model_cost - m.agent_cost - m.storage_cost, w.workspace_id`,
      values: [],
    }),
  );
  return rows.map((row) => {
    const margin = row.revenue_nano_usd - row.cost_nano_usd;
    return {
      ...row,
      margin_nano_usd: margin,
      margin_percent:
        row.revenue_nano_usd === 0
          ? null
          : Math.round((margin / row.revenue_nano_usd) * 1_000) / 10,
      measured_at: row.measured_at.toISOString(),
    };
  });
}

/** One alert of a limit above all workspaces. Amounts are nano-USD or milliseconds, by meter. */
export type TopAlert = {
  level: string;
  scope_id: string;
  meter: string;
  period: string;
  limit_version: number;
  kind: "used" | "demand";
  percent: number;
  limit_amount: number;
  amount: number;
  at: string;
};

/** Alerts of billing accounts and of the installation, newest first. */
export async function readTopAlerts(db: Db, limit: number): Promise<TopAlert[]> {
  const rows = await db.withPlatform((tx) =>
    tx.query<Omit<TopAlert, "at"> & { at: Date }>({
      text: `SELECT level, scope_id, meter, period, limit_version, kind, percent, limit_amount, amount, at FROM top_alerts
        ORDER BY at DESC, level, scope_id, meter, percent DESC LIMIT $1`,
      values: [limit],
    }),
  );
  return rows.map((row) => ({ ...row, at: row.at.toISOString() }));
}

/**
 * Suspends a workspace for the operator, or lets it go on whatever suspended it. Throws `workspace_not_found`.
 * -> whether anything changed
 */
export async function suspendWorkspace(
  db: Db,
  change: { workspaceId: string; suspend: boolean },
): Promise<boolean> {
  return db.withPlatform(async (tx) => {
    const [row] = await tx.query<{ changed: boolean | null }>({
      text: `SELECT (SELECT set_suspended(w.workspace_id, $2, 'operator') FROM workspaces w WHERE w.workspace_id = $1) AS changed`,
      values: [change.workspaceId, change.suspend ? "operator" : null],
    });
    if (row?.changed === null || row === undefined)
      throw new AppError({
        code: "workspace_not_found",
        status: 404,
        publicMessage: `There is no workspace ${change.workspaceId}.`,
        hint: "`guildhall operator margins` lists all of them.",
      });
    return row.changed;
  });
}

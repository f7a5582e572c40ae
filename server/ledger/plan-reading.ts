import {
  overageMeters,
  planMeters,
  type PlanTerm,
  type WorkspacePlan,
} from "@guildhall/sdk/contract/plan.ts";
import type { WorkspaceTx } from "../platform/db.ts";
import { invariant } from "../platform/errors.ts";
import { type PlanMeter, planNames, plans } from "./plans.ts";

type Row = {
  meter: PlanMeter;
  included: number | null;
  is_overridden: boolean | null;
  override_amount: number | null;
  overage: number | null;
  own_cap: number | null;
  version: number | null;
  changed_by: string | null;
  changed_at: Date | null;
  in_force: number | null;
};

function termOf(row: Row): PlanTerm {
  const base = row.is_overridden ? row.override_amount : row.included;
  const overage = row.overage ?? 0;
  return {
    meter: row.meter,
    included: row.included,
    agreed: row.is_overridden ? { amount: row.override_amount } : null,
    overage,
    overage_possible: base !== null && overageMeters.some((meter) => meter === row.meter),
    own_cap: row.own_cap,
    most: base === null ? null : base + overage,
    in_force: row.in_force,
    version: row.version ?? 0,
    changed_by: row.changed_by,
    changed_at: row.changed_at?.toISOString() ?? null,
  };
}

/** The workspace's plan, and what each of its own limits follows from. */
export async function readPlan(tx: WorkspaceTx): Promise<WorkspacePlan> {
  const [workspace] = await tx.query<{ plan: string }>({
    name: "plan_name",
    text: "SELECT plan FROM workspaces WHERE workspace_id = current_workspace()",
    values: [],
  });
  invariant(workspace, "a transaction speaks for a workspace that is there");
  const rows = await tx.query<Row>({
    name: "plan_terms",
    text: `SELECT m.meter, t.included, t.is_overridden, t.override_amount, t.overage, t.own_cap, t.version, t.changed_by, t.changed_at, l.amount AS in_force
      FROM unnest($1::text[]) WITH ORDINALITY AS m(meter, position)
      LEFT JOIN LATERAL (SELECT * FROM limit_terms x WHERE x.workspace_id = current_workspace() AND x.meter = m.meter ORDER BY x.version DESC LIMIT 1) t ON true
      LEFT JOIN LATERAL (SELECT x.amount FROM limits x WHERE x.workspace_id = current_workspace() AND x.meter = m.meter AND x.level = 'workspace'
        AND x.scope_id = current_workspace() ORDER BY x.version DESC LIMIT 1) l ON true
      ORDER BY m.position`,
    values: [[...planMeters]],
  });
  const known = planNames.find((name) => name === workspace.plan);
  return {
    plan: workspace.plan,
    price_nano_usd: known === undefined ? 0 : plans[known].priceNanoUsd,
    terms: rows.map(termOf),
  };
}

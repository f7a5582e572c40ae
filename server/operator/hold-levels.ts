// The one place besides money-rules.ts that knows how holds and slices of agent time store what they saw.

const seen = (table: string): string =>
  `${table} CROSS JOIN LATERAL unnest(budget_ids, seen_versions, seen_limits) l(budget_id, limit_version, limit_amount)`;

/** What each level had when something was admitted there: `ref` is the hold, or run and number of the slice. */
export const SEEN_LEVELS = `(
  SELECT s.*, b.meter, b.level, b.scope_id, b.period, b.posted, b.held FROM (
    SELECT workspace_id, id AS ref, held_at AS at, l.* FROM ${seen("holds")}
    UNION ALL SELECT workspace_id, concat(run_id, '/', slice_no), granted_at, l.* FROM ${seen("time_slices")}) s
  JOIN budgets b ON b.workspace_id = s.workspace_id AND b.id = s.budget_id
)`;

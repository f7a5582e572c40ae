/**
 * A WITH clause under which the rules see only what is new since a moment, what is open, and the balances of both: tables
 * of the same names stand in front of the whole ones. Each part is found by an index, so that a pass costs as much as
 * what has happened since the last one, however long the history is.
 */
export function recentRows(since: Date): string {
  const at = `timestamptz '${since.toISOString()}'`;
  return `WITH recent_lines AS MATERIALIZED (SELECT x.* FROM public.ledger_lines x WHERE x.at >= ${at}),
  holds AS MATERIALIZED (SELECT h.* FROM public.holds h JOIN (
      SELECT n.workspace_id, n.id FROM public.holds n WHERE n.held_at >= ${at}
      UNION SELECT o.workspace_id, o.id FROM public.holds o WHERE o.state IN ('HELD', 'DISPATCHED')
      UNION SELECT r.workspace_id, r.hold_id FROM recent_lines r WHERE r.hold_id IS NOT NULL) k USING (workspace_id, id)),
  time_slices AS MATERIALIZED (SELECT s.* FROM public.time_slices s WHERE s.granted_at >= ${at}),
  ledger_lines AS MATERIALIZED (
      SELECT x.* FROM holds h JOIN public.ledger_lines x ON x.workspace_id = h.workspace_id AND x.hold_id = h.id
      UNION ALL SELECT r.* FROM recent_lines r WHERE r.hold_id IS NULL),
  top_budgets AS MATERIALIZED (SELECT t.* FROM public.top_budgets t WHERE t.period >= to_char(clock_now() AT TIME ZONE 'UTC', CASE t.level WHEN 'platform' THEN 'YYYY-MM-DD' ELSE 'YYYY-MM' END)),
  budgets AS MATERIALIZED (SELECT b.* FROM public.budgets b JOIN (
      SELECT h.workspace_id, u.id FROM holds h, unnest(h.budget_ids) u(id)
      UNION SELECT s.workspace_id, u.id FROM time_slices s, unnest(s.budget_ids) u(id)
      UNION SELECT x.workspace_id, x.id FROM top_budgets t JOIN public.budgets x ON x.level = t.level AND x.scope_id = t.scope_id AND x.meter = t.meter
        AND x.period = t.period AND x.level IN ('owner', 'platform')) k USING (workspace_id, id)),
  refusals AS MATERIALIZED (SELECT r.* FROM public.refusals r WHERE r.at >= ${at})`;
}

import type { Rule } from "./rules.ts";

const counted = (table: string): string => `SELECT count(*) AS checked FROM ${table}`;

/** What each level had left when something was admitted there. */
const SEEN = `(
  SELECT h.workspace_id, 'hold' AS what, h.id AS ref, h.amount, h.state, l.* FROM holds h
    CROSS JOIN LATERAL unnest(h.budget_ids, h.seen_limits, h.seen_posted, h.seen_held) l(budget_id, seen_limit, seen_posted, seen_held)
  UNION ALL SELECT s.workspace_id, 'agent time', concat(s.run_id, '/', s.slice_no), s.granted_ms, NULL, l.* FROM time_slices s
    CROSS JOIN LATERAL unnest(s.budget_ids, s.seen_limits, s.seen_posted, s.seen_held) l(budget_id, seen_limit, seen_posted, seen_held)
)`;

/** A level in words. */
const LEVEL = "b.meter, b.level, b.scope_id, b.period";

/** I2: one set of lines per hold and slice. */
const twice: readonly Rule[] = [
  {
    law: "I2",
    name: "a hold is booked once, at its levels, and only when it has ended",
    counts: counted("holds"),
    finds: `SELECT h.workspace_id, h.id AS hold_id, h.state, h.posted, h.overrun, l.first_lines, l.lowered_lines, l.elsewhere, l.total::text AS total, l.overrun_total::text AS overrun_total
      FROM holds h CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.kind IN ('settle', 'provisional')) AS first_lines, count(*) FILTER (WHERE x.kind = 'lowered') AS lowered_lines,
          count(*) FILTER (WHERE x.kind <> 'overrun' AND x.budget_ids <> h.budget_ids) AS elsewhere,
          coalesce(sum(x.amount) FILTER (WHERE x.kind <> 'overrun'), 0) AS total, coalesce(sum(x.amount) FILTER (WHERE x.kind = 'overrun'), 0) AS overrun_total
        FROM ledger_lines x WHERE x.workspace_id = h.workspace_id AND x.hold_id = h.id) l
      WHERE NOT CASE WHEN h.state IN ('SETTLED', 'PROVISIONAL')
        THEN l.first_lines = 1 AND l.lowered_lines IN (0, CASE h.state WHEN 'SETTLED' THEN 1 ELSE 0 END) AND l.elsewhere = 0
          AND l.total = h.posted AND l.overrun_total = h.overrun
        ELSE l.first_lines = 0 AND l.lowered_lines = 0 AND l.total = 0 AND l.overrun_total = 0 AND h.overrun = 0 END`,
  },
  {
    law: "I2",
    name: "a run's balance has the number of its last call",
    wholeHistory: true,
    counts: counted("budgets WHERE level = 'run' AND meter = 'model_cost'"),
    finds: `SELECT b.workspace_id, b.scope_id AS run_id, b.calls, h.last_call FROM budgets b
      CROSS JOIN LATERAL (SELECT coalesce(max(x.call_no), 0) AS last_call FROM holds x WHERE x.workspace_id = b.workspace_id AND x.run_id = b.scope_id) h
      WHERE b.level = 'run' AND b.meter = 'model_cost' AND b.calls <> h.last_call`,
  },
  {
    law: "I2",
    name: "an answer is kept once, and only of a call that was settled",
    wholeHistory: true,
    counts: counted("journal"),
    finds: `SELECT j.workspace_id, j.hold_id, count(*) AS kept, min(h.state) AS state FROM journal j
      LEFT JOIN holds h ON h.workspace_id = j.workspace_id AND h.id = j.hold_id
      GROUP BY j.workspace_id, j.hold_id HAVING count(*) > 1 OR min(h.state) IS DISTINCT FROM 'SETTLED'`,
  },
];

/** I3: no overshoot. */
const overshoot: readonly Rule[] = [
  {
    law: "I3",
    name: "at its admission everything fitted at every level",
    counts: counted(`${SEEN} s`),
    finds: `SELECT s.*, ${LEVEL} FROM ${SEEN} s LEFT JOIN budgets b ON b.workspace_id = s.workspace_id AND b.id = s.budget_id
      WHERE s.seen_posted::numeric + s.seen_held + s.amount > s.seen_limit`,
  },
  {
    law: "I3",
    name: "everything was admitted at all levels of its spender, each seen once, leaf first",
    counts: counted("holds"),
    finds: `SELECT h.workspace_id, h.what, h.ref, n.levels FROM (
        SELECT workspace_id, 'hold' AS what, id AS ref, run_id IS NOT NULL AS of_run, 'model_cost' AS meter, budget_ids, seen_versions, seen_limits, seen_posted, seen_held FROM holds
        UNION ALL SELECT workspace_id, 'agent time', concat(run_id, '/', slice_no), true, 'agent_time', budget_ids, seen_versions, seen_limits, seen_posted, seen_held FROM time_slices) h
      CROSS JOIN LATERAL (SELECT array_agg(b.level ORDER BY u.n) AS levels, count(*) FILTER (WHERE b.meter = h.meter) AS known, array_agg(b.rank ORDER BY u.n) = array_agg(b.rank ORDER BY b.rank) AS in_order
        FROM unnest(h.budget_ids) WITH ORDINALITY u(id, n) JOIN budgets b ON b.workspace_id = h.workspace_id AND b.id = u.id) n
      WHERE NOT coalesce(n.known = cardinality(h.budget_ids) AND n.in_order AND n.levels @> CASE WHEN h.of_run THEN '{run,task,agent,workspace,owner,platform}' ELSE '{key,workspace,owner,platform}'::text[] END
        AND cardinality(h.budget_ids) = ALL (ARRAY[cardinality(h.seen_versions), cardinality(h.seen_limits), cardinality(h.seen_posted), cardinality(h.seen_held)]), false)`,
  },
  {
    law: "I3",
    name: "a balance holds what its open holds hold",
    counts: counted("budgets"),
    finds: `SELECT workspace_id, id AS budget_id, ${LEVEL}, coalesce(b.held, 0) AS held, coalesce(o.held, 0)::text AS open_holds FROM budgets b
      FULL JOIN (SELECT h.workspace_id, l.id, sum(h.amount) AS held
        FROM holds h, unnest(h.budget_ids) l(id) WHERE h.state IN ('HELD', 'DISPATCHED') GROUP BY 1, 2) o USING (workspace_id, id)
      WHERE coalesce(b.held, 0) <> coalesce(o.held, 0)`,
  },
  {
    law: "I3",
    name: "a shared limit has handed out what its workspaces have",
    counts: counted("top_budgets"),
    // Workspaces without a limit of their own were there before the shared limit, or stay after it was removed.
    finds: `SELECT t.level, t.scope_id, t.meter, t.period, t.granted, sum(b.limit_amount)::text AS handed_out FROM top_budgets t
      LEFT JOIN budgets b ON b.level = t.level AND b.scope_id = t.scope_id AND b.meter = t.meter AND b.period = t.period
      GROUP BY t.level, t.scope_id, t.meter, t.period, t.granted
      HAVING coalesce(sum(b.limit_amount), 0) <> t.granted AND count(b.limit_amount) = count(b.level)`,
  },
  {
    law: "I3",
    name: "no more runs have a slot than the workspace was ever allowed",
    counts: counted("runs WHERE slot_no IS NOT NULL"),
    finds: `SELECT r.workspace_id, r.slots, l.allowed FROM (SELECT workspace_id, count(*) AS slots FROM runs WHERE slot_no IS NOT NULL GROUP BY workspace_id) r
      JOIN (SELECT workspace_id, max(amount) AS allowed FROM limits WHERE meter = 'concurrent_tasks' AND level = 'workspace'
        GROUP BY workspace_id HAVING count(amount) = count(*)) l USING (workspace_id) WHERE r.slots > l.allowed`,
  },
];

/** Only when the caller says that nothing is under way. */
export const quietRules: readonly Rule[] = [
  {
    law: "I3",
    name: "after quiet nothing is held",
    counts: counted("holds"),
    finds: `SELECT workspace_id, id AS hold_id, run_id, state, amount, held_at FROM holds WHERE state IN ('HELD', 'DISPATCHED')`,
  },
];

const APPEND_ONLY = `(VALUES ('ledger_lines'), ('events'), ('audit_lines'), ('limits')) AS t(name)`;

/** What no row may be, whatever else is true. The tables themselves check amounts only (migrations/0003). */
const SHAPES = `
  SELECT workspace_id, 'hold' AS what, id AS ref FROM holds
    WHERE state NOT IN ('HELD', 'DISPATCHED', 'SETTLED', 'PROVISIONAL', 'VOID') OR (state IN ('SETTLED', 'PROVISIONAL')) <> (posted IS NOT NULL)
      OR (state IN ('DISPATCHED', 'SETTLED', 'PROVISIONAL') AND dispatched_at IS NULL) OR max_tokens <= 0
      OR (run_id IS NULL) <> (api_key_id IS NOT NULL) OR (run_id IS NULL) <> (epoch IS NULL) OR (run_id IS NULL) <> (call_no IS NULL)
  UNION ALL SELECT workspace_id, 'line', id::text FROM ledger_lines
    WHERE kind NOT IN ('settle', 'provisional', 'lowered', 'overrun', 'agent_time', 'agent_time_returned') OR (hold_id IS NULL) <> (slice_no IS NOT NULL)
  UNION ALL SELECT workspace_id, 'balance', id::text FROM budgets
    WHERE level NOT IN ('run', 'task', 'agent', 'key', 'workspace', 'owner', 'platform', 'overrun')`;

/** I4: conservation. */
const conservation: readonly Rule[] = [
  {
    law: "I4",
    name: "holds, lines and balances have a shape that the ledger can give them",
    counts: `SELECT (SELECT count(*) FROM holds) + (SELECT count(*) FROM ledger_lines) + (SELECT count(*) FROM budgets) AS checked`,
    finds: SHAPES,
  },
  {
    law: "I4",
    name: "the lines of an account sum to its balance",
    wholeHistory: true,
    counts: counted("budgets"),
    finds: `SELECT workspace_id, id AS budget_id, ${LEVEL}, b.posted, coalesce(l.total, 0)::text AS lines FROM budgets b
      FULL JOIN (SELECT x.workspace_id, k.id, sum(x.amount) AS total FROM ledger_lines x, unnest(x.budget_ids) k(id) GROUP BY 1, 2) l USING (workspace_id, id)
      WHERE b.posted IS DISTINCT FROM coalesce(l.total, 0)`,
  },
  {
    law: "I4",
    name: "a slice of agent time is booked once, at its levels, less what was returned",
    counts: counted("time_slices"),
    finds: `SELECT s.workspace_id, s.run_id, s.slice_no, s.granted_ms, s.returned_ms, l.lines, l.elsewhere, l.total::text AS total FROM time_slices s
      CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.kind = 'agent_time') AS lines, count(*) FILTER (WHERE x.budget_ids <> s.budget_ids) AS elsewhere, coalesce(sum(x.amount), 0) AS total FROM ledger_lines x
        WHERE x.workspace_id = s.workspace_id AND x.run_id = s.run_id AND x.slice_no = s.slice_no) l
      WHERE l.lines <> 1 OR l.elsewhere > 0 OR l.total <> s.granted_ms - s.returned_ms`,
  },
  {
    law: "I4",
    name: "nobody who serves requests can change or delete what is only ever added",
    counts: counted(APPEND_ONLY),
    finds: `SELECT r.rolname AS role, t.name AS table_name, p.name AS privilege FROM pg_roles r, ${APPEND_ONLY}, (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS p(name)
      WHERE r.rolname LIKE 'guildhall\\_%' AND (has_table_privilege(r.oid, t.name, p.name) OR (p.name = 'UPDATE' AND has_any_column_privilege(r.oid, t.name, 'UPDATE')))`,
  },
];

/** I5: truth, as far as it does not need prices. */
const truth: readonly Rule[] = [
  {
    law: "I5",
    name: "nobody is charged more than was held, and an unknown outcome is charged in full",
    counts: counted("holds WHERE posted IS NOT NULL"),
    finds: `SELECT workspace_id, id AS hold_id, state, amount, posted FROM holds
      WHERE posted > amount OR (state = 'PROVISIONAL' AND posted <> amount)`,
  },
  {
    law: "I5",
    name: "a charge is lowered later, never raised",
    counts: counted("ledger_lines WHERE kind = 'lowered'"),
    finds: `SELECT workspace_id, id AS line_id, hold_id, amount FROM ledger_lines WHERE kind = 'lowered' AND amount > 0`,
  },
  {
    law: "I5",
    name: "the platform pays only what a full charge does not cover",
    counts: counted("holds WHERE overrun > 0"),
    finds: `SELECT workspace_id, id AS hold_id, state, amount, posted, overrun FROM holds WHERE overrun > 0 AND posted IS DISTINCT FROM amount`,
  },
  {
    law: "I5",
    name: "what was sent is never voided",
    counts: counted("holds WHERE state = 'VOID'"),
    finds: `SELECT workspace_id, id AS hold_id, dispatched_at FROM holds WHERE state = 'VOID' AND dispatched_at IS NOT NULL`,
  },
];

/** Rules about holds, balances and lines. */
export const moneyRules: readonly Rule[] = [...twice, ...overshoot, ...conservation, ...truth];

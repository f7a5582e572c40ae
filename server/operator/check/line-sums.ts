import type { Tx } from "../../platform/db.ts";
import type { Finding, Violation } from "../verify.ts";

/** What each balance must have now, from what it had at the last look and the lines that have been added since. */
export type LineSums = {
  check(tx: Tx, since: Date): Promise<Finding>;
};

const RULE = "a balance changes by what the new lines of its account say";
/** Beyond it the balances that were looked at longest ago are forgotten; the full check knows them all. */
const MAX_BALANCES = 50_000;
const MAX_VIOLATIONS = 100;

type Row = {
  workspace_id: string;
  budget_id: number;
  posted: number | null;
  added: number;
};

/**
 * I4 without reading the history: every line that the previous snapshot did not show must be in its balance, and nothing
 * else. Needs the same snapshot for all it reads.
 */
export function createLineSums(): LineSums {
  const known = new Map<string, { workspaceId: string; budgetId: number; posted: number }>();
  let snapshot: string | undefined;

  async function read(tx: Tx, since: Date): Promise<Row[]> {
    const balances = [...known.values()];
    return tx.query<Row>({
      // A row's xmin has no epoch. The ledger opens no subtransactions, so it is the transaction that the snapshot knows.
      text: `WITH now AS (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric AS next),
          lines AS (SELECT x.workspace_id, x.amount, x.budget_ids, x.xmin::text::bigint AS xid FROM ledger_lines x WHERE x.at >= $1),
          added AS (SELECT l.workspace_id, k.id, sum(l.amount)::bigint AS amount FROM lines l, now, unnest(l.budget_ids) k(id)
            WHERE NOT coalesce(pg_visible_in_snapshot(
              (trunc(now.next / 4294967296) * 4294967296 + l.xid - CASE WHEN l.xid > now.next % 4294967296 THEN 4294967296 ELSE 0 END)::text::xid8, $2::pg_snapshot), false)
            GROUP BY 1, 2)
        SELECT workspace_id, id AS budget_id, b.posted, coalesce(a.amount, 0) AS added
          FROM (SELECT workspace_id, id FROM added UNION SELECT * FROM unnest($3::text[], $4::bigint[])) k(workspace_id, id)
          LEFT JOIN added a USING (workspace_id, id) LEFT JOIN budgets b USING (workspace_id, id)`,
      values: [
        since,
        snapshot ?? null,
        balances.map((balance) => balance.workspaceId),
        balances.map((balance) => balance.budgetId),
      ],
    });
  }

  return {
    async check(tx, since) {
      const rows = await read(tx, since);
      const [now] = await tx.query<{ snapshot: string }>({
        text: "SELECT pg_current_snapshot()::text AS snapshot",
        values: [],
      });
      const violations: Violation[] = [];
      let checked = 0;
      for (const row of rows) {
        const key = `${row.workspace_id} ${row.budget_id}`;
        const before = known.get(key);
        const expected =
          before === undefined ? (row.posted ?? 0) : before.posted + (snapshot ? row.added : 0);
        if (before !== undefined && snapshot !== undefined) {
          checked += 1;
          if (row.posted !== expected)
            violations.push({
              rule: RULE,
              workspace_id: row.workspace_id,
              budget_id: row.budget_id,
              posted: row.posted,
              expected,
            });
        }
        // What is wrong stays wrong at the next look, too.
        known.delete(key);
        known.set(key, {
          workspaceId: row.workspace_id,
          budgetId: row.budget_id,
          posted: expected,
        });
      }
      for (const key of known.keys()) {
        if (known.size <= MAX_BALANCES) break;
        known.delete(key);
      }
      snapshot = now?.snapshot;
      return { law: "I4", checked, violations: violations.slice(0, MAX_VIOLATIONS) };
    },
  };
}

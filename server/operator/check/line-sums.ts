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
 * I4 without reading the history: every line that the previous look did not see must be in its balance, and nothing
 * else. Needs the same snapshot for all it reads. Lines are told apart by their ids: that of the transaction which wrote
 * one would not do, for a snapshot does not know the subtransactions in which a claim books time.
 */
export function createLineSums(): LineSums {
  const known = new Map<string, { workspaceId: string; budgetId: number; posted: number }>();
  /** Ids of the lines that were seen, as ranges: few, for only what had not committed is missing between them. */
  let seen: string | undefined;

  async function read(tx: Tx, since: Date): Promise<Row[]> {
    const balances = [...known.values()];
    return tx.query<Row>({
      text: `WITH added AS (SELECT l.workspace_id, k.id, sum(l.amount)::bigint AS amount FROM ledger_lines l, unnest(l.budget_ids) k(id)
            WHERE l.at >= $1 AND NOT coalesce($2::int8multirange @> l.id, false) GROUP BY 1, 2)
        SELECT workspace_id, id AS budget_id, b.posted, coalesce(a.amount, 0) AS added
          FROM (SELECT workspace_id, id FROM added UNION SELECT * FROM unnest($3::text[], $4::bigint[])) k(workspace_id, id)
          LEFT JOIN added a USING (workspace_id, id) LEFT JOIN budgets b USING (workspace_id, id)`,
      values: [
        since,
        seen ?? null,
        balances.map((balance) => balance.workspaceId),
        balances.map((balance) => balance.budgetId),
      ],
    });
  }

  return {
    async check(tx, since) {
      const rows = await read(tx, since);
      const [now] = await tx.query<{ seen: string }>({
        text: "SELECT coalesce(range_agg(int8range(x.id, x.id, '[]')), '{}')::text AS seen FROM ledger_lines x WHERE x.at >= $1",
        values: [since],
      });
      const violations: Violation[] = [];
      let checked = 0;
      for (const row of rows) {
        const key = `${row.workspace_id} ${row.budget_id}`;
        const before = known.get(key);
        const expected =
          before === undefined ? (row.posted ?? 0) : before.posted + (seen ? row.added : 0);
        if (before !== undefined && seen !== undefined) {
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
      seen = now?.seen;
      return { law: "I4", checked, violations: violations.slice(0, MAX_VIOLATIONS) };
    },
  };
}

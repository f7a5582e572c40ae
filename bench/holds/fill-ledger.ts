import type pg from "pg";
import type { ClaimedRun } from "../../server/test/tenant.ts";

const LINES_PER_STATEMENT = 60_000;

/** The columns of a table that a copy takes over, in order. */
async function columnsOf(admin: pg.Client, table: string): Promise<string[]> {
  const { rows } = await admin.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute
       WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attidentity <> 'a' AND attgenerated = '' ORDER BY attnum`,
    [table],
  );
  return rows.map(({ name }) => name);
}

/**
 * Fills the ledger with at least `lines` lines, spread evenly over runs that each have one settled hold: that hold and
 * its lines are copied, and the balances raised to fit. By SQL, past the doors and triggers. -> how many lines there are
 */
export async function fillLedger(
  admin: pg.Client,
  options: { runs: readonly ClaimedRun[]; lines: number },
): Promise<number> {
  const { runs, lines } = options;
  const copied = async (table: string, changes: Readonly<Record<string, string>>) => {
    const columns = await columnsOf(admin, table);
    return {
      names: columns.join(", "),
      values: columns.map((name) => changes[name] ?? `x.${name}`).join(", "),
    };
  };
  const holdId = "'hold_0' || lpad(n::text, 25, '0')";
  const hold = await copied("holds", { id: holdId, call_no: "x.call_no + n" });
  const line = await copied("ledger_lines", { hold_id: holdId });
  const {
    rows: [first],
  } = await admin.query<{ each: string }>(
    "SELECT count(*) AS each FROM ledger_lines WHERE workspace_id = $1",
    [runs[0]!.workspaceId],
  );
  const linesPerHold = Number(first!.each);
  const holdsPerRun = Math.ceil(lines / linesPerHold / runs.length);
  const step = Math.floor(LINES_PER_STATEMENT / linesPerHold);
  await admin.query("SET session_replication_role = replica");
  for (const { workspaceId, runId } of runs) {
    for (let from = 1; from <= holdsPerRun; from += step) {
      const values = [workspaceId, runId, from, Math.min(holdsPerRun, from + step - 1)];
      const source = "(SELECT * FROM % WHERE workspace_id = $1 AND run_id = $2 AND kept) x";
      const numbers = "generate_series($3::int, $4::int) n";
      await admin.query(
        `INSERT INTO ledger_lines (${line.names}) SELECT ${line.values}
           FROM ${numbers}, ${source.replace("%", "ledger_lines").replace("kept", "hold_id NOT LIKE 'hold\\_00000%'")} ORDER BY n`,
        values,
      );
      await admin.query(
        `INSERT INTO holds (${hold.names}) SELECT ${hold.values}
           FROM ${numbers}, ${source.replace("%", "holds").replace("kept", "id NOT LIKE 'hold\\_00000%'")} ORDER BY n`,
        values,
      );
    }
  }
  await admin.query(
    `UPDATE budgets b SET posted = s.posted, limit_amount = b.limit_amount + s.posted - b.posted
       FROM (SELECT workspace_id, meter, level, scope_id, period, sum(amount) AS posted FROM ledger_lines GROUP BY 1, 2, 3, 4, 5) s
       WHERE (b.workspace_id, b.meter, b.level, b.scope_id, b.period) = (s.workspace_id, s.meter, s.level, s.scope_id, s.period)`,
  );
  await admin.query("SET session_replication_role = origin");
  await admin.query("VACUUM ANALYZE");
  await admin.query("CHECKPOINT");
  return runs.length * (holdsPerRun + 1) * linesPerHold;
}

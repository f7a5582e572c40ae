import type pg from "pg";
import type { ClaimedRun } from "../../server/test/tenant.ts";

const LINES_PER_STATEMENT = 60_000;

/** The columns of a table that a copy takes over from its original `x`, some by another expression. */
async function copyOf(
  admin: pg.Client,
  table: string,
  changes: Readonly<Record<string, string>>,
): Promise<{ table: string; names: string; expressions: string }> {
  const { rows } = await admin.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute
       WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attidentity <> 'a' AND attgenerated = '' ORDER BY attnum`,
    [table],
  );
  const names = rows.map(({ name }) => name);
  return {
    table,
    names: names.join(", "),
    expressions: names.map((name) => changes[name] ?? `x.${name}`).join(", "),
  };
}

/**
 * Fills the ledger with at least `lines` lines, spread evenly over runs, each the only one of its workspace and with
 * one settled hold: that hold and its lines are copied, and the balances raised to fit. By SQL, past the doors and triggers. -> how many lines there are
 */
export async function fillLedger(
  admin: pg.Client,
  options: { runs: readonly ClaimedRun[]; lines: number },
): Promise<number> {
  const { runs, lines } = options;
  // The originals, apart from their copies.
  for (const table of ["ledger_lines", "holds"])
    await admin.query(`CREATE TEMP TABLE bench_${table} AS SELECT * FROM ${table}`);
  const holdId = "'hold_0' || lpad(n::text, 25, '0')";
  const copies = [
    await copyOf(admin, "ledger_lines", { hold_id: holdId }),
    await copyOf(admin, "holds", { id: holdId, call_no: "x.call_no + n" }),
  ];
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
  for (const { workspaceId } of runs) {
    // All that is posted there is that one call. What is left of each limit is plenty, the chunks of the top ones too.
    // A run's own balance has the number of its last call.
    await admin.query(
      `UPDATE budgets SET posted = posted * ($2::int + 1), calls = CASE level WHEN 'run' THEN calls + $2::int ELSE calls END WHERE workspace_id = $1`,
      [workspaceId, holdsPerRun],
    );
    for (let from = 1; from <= holdsPerRun; from += step) {
      const values = [workspaceId, from, Math.min(holdsPerRun, from + step - 1)];
      for (const { table, names, expressions } of copies)
        await admin.query(
          `INSERT INTO ${table} (${names}) SELECT ${expressions}
             FROM generate_series($2::int, $3::int) n, bench_${table} x WHERE x.workspace_id = $1 ORDER BY n`,
          values,
        );
    }
  }
  await admin.query("SET session_replication_role = origin");
  await admin.query("VACUUM ANALYZE");
  await admin.query("CHECKPOINT");
  return runs.length * (holdsPerRun + 1) * linesPerHold;
}

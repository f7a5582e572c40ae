import pg from "pg";
import type { BenchDatabase } from "../database.ts";
import { HOLD_NANO_USD } from "./ledger-door.ts";
import { PLENTY_NANO_USD } from "./stage.ts";

/** The peer: budgets of one level only, in a table of their own, changed by autocommitted UPDATEs. */
export type PlainUpdate = {
  /** One statement. -> whether it fitted */
  hold(account: number): Promise<boolean>;
  /** One statement for several different accounts, one hold each. -> how many fitted */
  holdSeveral(accounts: readonly number[]): Promise<number>;
  /** Gives all that is held back, outside of what is measured. */
  release(): Promise<void>;
  close(): Promise<void>;
};

export async function openPlainUpdate(
  database: BenchDatabase,
  options: { table: string; accounts: number; connections: number },
): Promise<PlainUpdate> {
  const { admin } = database;
  const { table } = options;
  await admin.query(
    `CREATE TABLE ${table} (id int PRIMARY KEY, "limit" bigint NOT NULL, posted bigint NOT NULL DEFAULT 0, held bigint NOT NULL DEFAULT 0)`,
  );
  await admin.query(
    `INSERT INTO ${table} (id, "limit") SELECT n, $2::bigint FROM generate_series(0, $1::int - 1) n`,
    [options.accounts, PLENTY_NANO_USD],
  );
  await admin.query(`VACUUM ANALYZE ${table}`);
  const one = {
    name: `${table}_one`,
    text: `UPDATE ${table} SET held = held + $1 WHERE id = $2 AND posted + held + $1 <= "limit" RETURNING held`,
  };
  // The rows are locked in the order of their ids, so that two statements never wait in a circle.
  const several = {
    name: `${table}_several`,
    text: `UPDATE ${table} b SET held = b.held + $1
      FROM (SELECT x.id FROM ${table} x WHERE x.id = ANY($2::int[]) ORDER BY x.id FOR UPDATE) a
      WHERE b.id = a.id AND b.posted + b.held + $1 <= b."limit" RETURNING b.id`,
  };
  const pool = new pg.Pool({ connectionString: database.ownerUrl, max: options.connections });
  return {
    async hold(account) {
      const result = await pool.query({ ...one, values: [HOLD_NANO_USD, account] });
      return result.rowCount === 1;
    },
    async holdSeveral(accounts) {
      const result = await pool.query({ ...several, values: [HOLD_NANO_USD, accounts] });
      return result.rowCount ?? 0;
    },
    async release() {
      await admin.query(`UPDATE ${table} SET held = 0`);
      await admin.query(`VACUUM ${table}`);
    },
    close: () => pool.end(),
  };
}

import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, inject, vi } from "vitest";
import { createDb, type Db } from "../platform/db.ts";
import { createLogger } from "../platform/log.ts";
import { TEMPLATE_DATABASE, testPasswordOf } from "./postgres.ts";

export type TestDatabase = {
  db: Db;
  /** Owner connection, past all policies: only to check what the doors have done. */
  admin: pg.Client;
  /** URL of the database as its owner. */
  ownerUrl: string;
  /** Terminates every other connection to this database, as a crash of the server would. */
  dropConnections(): Promise<void>;
  /**
   * Resolves when readers that stop below the oldest open transaction see all that is committed by now. Transactions
   * are numbered for the whole server, so the tests of another file hold such readers back, too.
   */
  settled(): Promise<void>;
};

const LEAK_LOOKS = 40;

/** What is still busy after the pools were closed. A server process takes a moment to notice that its client has left. */
async function openConnections(admin: pg.Client, database: string): Promise<object[]> {
  for (let look = 1; ; look++) {
    const { rows } = await admin.query<object>(
      `SELECT application_name, state, query FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND usename LIKE 'guildhall%' AND state <> 'idle'`,
      [database],
    );
    if (rows.length === 0 || look === LEAK_LOOKS) return rows;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** A database of this test file's own, cloned from the migrated template and dropped afterwards. Call at top level. */
export async function createTestDatabase(
  options: { maxConnections?: number } = {},
): Promise<TestDatabase> {
  const server = inject("postgresUrl");
  const name = `test_${randomBytes(6).toString("hex")}`;
  const root = new pg.Client({ connectionString: `${server}/postgres` });
  await root.connect();
  await root.query(`CREATE DATABASE ${name} TEMPLATE ${TEMPLATE_DATABASE}`);
  const admin = new pg.Client({ connectionString: `${server}/${name}` });
  await admin.connect();
  const url = new URL(server);
  const db = createDb({
    address: { host: url.hostname, port: Number(url.port), database: name },
    passwordOf: testPasswordOf,
    log: createLogger({ level: "silent" }),
    ...options,
  });

  afterAll(async () => {
    await db.close();
    const leaked = await openConnections(admin, name);
    await admin.end();
    await root.query(`DROP DATABASE ${name} WITH (FORCE)`);
    await root.end();
    if (leaked.length > 0) throw new Error(`connections were left open: ${JSON.stringify(leaked)}`);
  });

  return {
    db,
    admin,
    ownerUrl: `${server}/${name}`,
    async dropConnections() {
      await root.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename <> current_user",
        [name],
      );
    },
    async settled() {
      const {
        rows: [now],
      } = await admin.query<{ last: string }>(`SELECT pg_current_xact_id()::text AS last`);
      await vi.waitUntil(async () => {
        const { rows } = await admin.query(
          `SELECT 1 WHERE pg_snapshot_xmin(pg_current_snapshot()) > $1::xid8`,
          [now?.last],
        );
        return rows.length > 0;
      }, 20_000);
    },
  };
}

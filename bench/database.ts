import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { createDb, type Db, type DbAddress } from "../server/platform/db.ts";
import { createLogger } from "../server/platform/log.ts";
import { migrate } from "../server/platform/migrate.ts";
import { startEmbeddedPostgres } from "../server/platform/postgres-server/embedded-postgres.ts";

export const benchPasswordOf = (role: string): string => `bench-${role}`;

/** One migrated database of the bench's server. */
export type BenchDatabase = {
  address: DbAddress;
  ownerUrl: string;
  /** Past the doors, and without a sync per commit: to set the stage, never to measure. */
  admin: pg.Client;
  /** The doors of the product, with its own number of connections unless said otherwise. */
  openDb(options?: { maxConnections?: number }): Db;
};

/** The product's own Postgres as its own process, with its own settings: fsync and synchronous_commit are on. */
export type BenchPostgres = {
  version: string;
  /** Of its first process; the others are its children. */
  pid: number;
  /** A new database with the product's tables. */
  createDatabase(name: string): Promise<BenchDatabase>;
  close(): Promise<void>;
};

export async function startBenchPostgres(): Promise<BenchPostgres> {
  const folder = await mkdtemp(join(tmpdir(), "guildhall-bench-"));
  // As root Postgres runs as another user, who must be able to enter.
  await chmod(folder, 0o755);
  const server = await startEmbeddedPostgres({ dataDir: join(folder, "postgres"), log: () => {} });
  const origin = `postgres://${server.superuser}:${server.password}@${server.host}:${server.port}`;
  const root = new pg.Client({ connectionString: `${origin}/postgres` });
  await root.connect();
  const admins: pg.Client[] = [];
  const dbs: Db[] = [];

  return {
    version: server.version,
    pid: server.pid,
    async createDatabase(name) {
      await root.query(`CREATE DATABASE ${name}`);
      const ownerUrl = `${origin}/${name}`;
      await migrate({ ownerUrl, passwordOf: benchPasswordOf });
      const admin = new pg.Client({ connectionString: ownerUrl });
      await admin.connect();
      admins.push(admin);
      await admin.query("SET synchronous_commit = off");
      const address = { host: server.host, port: server.port, database: name };
      return {
        address,
        ownerUrl,
        admin,
        openDb(options = {}) {
          const log = createLogger({ level: "error" });
          const db = createDb({ address, passwordOf: benchPasswordOf, log, ...options });
          dbs.push(db);
          return db;
        },
      };
    },
    async close() {
      await Promise.all(dbs.map((db) => db.close()));
      await Promise.all(admins.map((admin) => admin.end()));
      await root.end();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import pg from "pg";
import { AppError } from "./errors.ts";
import type { DbRole } from "./db.ts";
import { hasCode } from "./system-error.ts";

export type Migration = { version: number; name: string; sql: string; checksum: string };

export type MigrateOptions = {
  ownerUrl: string;
  passwordOf(role: DbRole): string;
  /** Refuses (`secret_differs`) instead of setting other passwords than roles have: other processes log in with those. */
  samePasswords?: boolean;
  migrations?: readonly Migration[];
};

const FOLDER = new URL("../migrations/", import.meta.url);
const LOGIN_ROLES: readonly DbRole[] = ["guildhall_app", "guildhall_ledger", "guildhall_platform"];
/** One lock for all migrators of a database: two processes that start together must not both migrate. */
const MIGRATION_LOCK = 7_119_408_231;

/**
 * The checksums that are checked in beside the files: a migration that was changed after it had been released is
 * noticed by the test of this list, before any database refuses it.
 */
export function manifestOf(migrations: readonly Migration[]): string {
  const checksums = Object.fromEntries(migrations.map(({ name, checksum }) => [name, checksum]));
  return `${JSON.stringify(checksums, null, 2)}\n`;
}

/** All migrations in order; the file name is `<4 digits>_<name>.sql`, the checksum is SHA-256 of the text. */
export async function readMigrations(folder: URL = FOLDER): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => /^\d{4}_.+\.sql$/.test(name)).toSorted();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, folder), "utf8");
      return {
        version: Number(name.slice(0, 4)),
        name,
        sql,
        checksum: createHash("sha256").update(sql).digest("hex"),
      };
    }),
  );
}

/** Throws `secret_differs` when the role has another password: one that another secret was the root of. */
async function requirePassword(
  ownerUrl: string,
  { role, password }: { role: DbRole; password: string },
): Promise<void> {
  const url = new URL(ownerUrl);
  url.username = role;
  url.password = encodeURIComponent(password);
  const client = new pg.Client({ connectionString: url.href });
  try {
    await client.connect();
  } catch (error) {
    if (!hasCode(error, "28P01")) throw error;
    throw new AppError({
      code: "secret_differs",
      status: 500,
      publicMessage: "GUILDHALL_SECRET is not the one that this database's installation has.",
      hint: "Give all processes the same; it is that of the process which was started first. To change it, stop them all and run `guildhall start` once with the new one.",
      cause: error,
    });
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Roles belong to the cluster, not to a database, so they cannot come from a migration alone. Idempotent. */
async function ensureRoles(
  client: pg.Client,
  { ownerUrl, passwordOf, samePasswords = false }: MigrateOptions,
): Promise<void> {
  const existing = await client.query<{ rolname: string }>(
    `SELECT rolname FROM pg_roles WHERE rolname LIKE 'guildhall\\_%'`,
  );
  const names = new Set(existing.rows.map((row) => row.rolname));
  if (!names.has("guildhall_definer"))
    await client.query("CREATE ROLE guildhall_definer NOLOGIN NOINHERIT");
  for (const role of LOGIN_ROLES) {
    if (samePasswords && names.has(role))
      await requirePassword(ownerUrl, { role, password: passwordOf(role) });
    const password = client.escapeLiteral(passwordOf(role));
    await client.query(
      `${names.has(role) ? "ALTER" : "CREATE"} ROLE ${role} LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD ${password}`,
    );
    await client.query(`ALTER ROLE ${role} SET statement_timeout = '5s'`);
    // Prisma writes times without a zone and drops the zone that it reads, which is right in UTC only.
    await client.query(`ALTER ROLE ${role} SET timezone = 'UTC'`);
    await client.query(`ALTER ROLE ${role} SET idle_in_transaction_session_timeout = '15s'`);
  }
  await client.query("GRANT guildhall_definer TO CURRENT_USER WITH SET TRUE");
}

async function applyPending(client: pg.Client, migrations: readonly Migration[]): Promise<number> {
  await client.query(
    "CREATE TABLE IF NOT EXISTS schema_migrations (version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
  );
  const applied = new Map(
    (
      await client.query<{ version: number; checksum: string }>(
        "SELECT version, checksum FROM schema_migrations",
      )
    ).rows.map((row) => [row.version, row.checksum]),
  );
  const newest = Math.max(0, ...applied.keys());
  const known = migrations.at(-1)?.version ?? 0;
  if (newest > known) {
    throw new AppError({
      code: "database_newer",
      status: 500,
      publicMessage: `The database is at migration ${newest}, this release knows ${known}.`,
      hint: "Start the newer release, or restore a backup made by this one.",
    });
  }
  let count = 0;
  for (const migration of migrations) {
    const checksum = applied.get(migration.version);
    if (checksum === undefined) {
      await client.query("BEGIN");
      await client.query(migration.sql);
      await client.query(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        [migration.version, migration.name, migration.checksum],
      );
      await client.query("COMMIT");
      count++;
    } else if (checksum !== migration.checksum) {
      throw new AppError({
        code: "migration_changed",
        status: 500,
        publicMessage: `Migration ${migration.name} was changed after it had been applied.`,
        hint: "Restore the file and put the change into a new migration.",
      });
    }
  }
  return count;
}

/**
 * Brings the database to this release: roles, then each pending migration in a transaction of its own, forward only.
 * `ownerUrl` is a direct connection (no PgBouncer) of a role that may create roles and owns the database.
 * -> how many migrations were applied
 */
export async function migrate(options: MigrateOptions): Promise<number> {
  const migrations = options.migrations ?? (await readMigrations());
  const client = new pg.Client({
    connectionString: options.ownerUrl,
    application_name: "guildhall_migrate",
  });
  await client.connect();
  try {
    await client.query("SELECT pg_advisory_lock($1)", [MIGRATION_LOCK]);
    await client.query(`SET lock_timeout = '10s'`);
    await ensureRoles(client, options);
    return await applyPending(client, migrations);
  } finally {
    await client.end();
  }
}

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { AppError } from "./errors.ts";
import { type DbRole, translated } from "./db.ts";
import { hasCode } from "./system-error.ts";

export type Migration = {
  version: number;
  name: string;
  sql: string;
  checksum: string;
  /**
   * Code that does not know this version of the schema yet fails from here on. 0 for what only adds: then every older
   * release goes on working.
   */
  needs: number;
};

export type MigrateOptions = {
  ownerUrl: string;
  passwordOf(role: DbRole): string;
  /** Refuses (`secret_differs`) instead of setting other passwords than roles have: other processes log in with those. */
  samePasswords?: boolean;
  migrations?: readonly Migration[];
};

const FOLDER = new URL("../migrations/", import.meta.url);
const LOGIN_ROLES: readonly DbRole[] = ["guildhall_app", "guildhall_ledger", "guildhall_platform"];
/**
 * How long a process that was stopped or cut off in the middle of a transaction keeps its locks. A worker extends the
 * leases of all its runs with one statement, which waits for whoever has one of them locked: so well below a lease.
 */
const IDLE_TIMEOUT: Readonly<Record<DbRole, string>> = {
  guildhall_app: "3s",
  guildhall_ledger: "3s",
  guildhall_platform: "15s",
};
/** One lock for all migrators of a database: two processes that start together must not both migrate. */
const MIGRATION_LOCK = 7_119_408_231;
/** Who waits for a lock of a table keeps all others waiting behind itself: less than their statements may take. */
const LOCK_TIMEOUT_MS = 1_000;
const LOCK_PAUSE_MS = 500;
/** Over a minute of trying. */
const LOCK_TRIES = 60;
const CONNECT_TIMEOUT_MS = 10_000;
const LOCK_NOT_AVAILABLE = "55P03";
const NEEDS = /^-- needs code of (\d{4})$/m;

/**
 * The checksums that are checked in beside the files: a migration that was changed after it had been released is
 * noticed by the test of this list, before any database refuses it.
 */
export function manifestOf(migrations: readonly Migration[]): string {
  const checksums = Object.fromEntries(migrations.map(({ name, checksum }) => [name, checksum]));
  return `${JSON.stringify(checksums, null, 2)}\n`;
}

/**
 * All migrations in order; the file name is `<4 digits>_<name>.sql`, the checksum is SHA-256 of the text. What takes
 * away has a line `-- needs code of 0017`, the version since which nothing uses it.
 */
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
        needs: Number(NEEDS.exec(sql)?.[1] ?? 0),
      };
    }),
  );
}

/** A connection for the time of a start. */
function createClient(connectionString: string): pg.Client {
  const client = new pg.Client({
    connectionString,
    application_name: "guildhall_migrate",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  // Whoever waits for an answer hears of the loss; without a listener it would end the process on the spot.
  client.on("error", () => undefined);
  return client;
}

/** Trouble to reach the server, with its name and what to look at. */
function explained(error: unknown, ownerUrl: string): unknown {
  if (translated(error) === error || !(error instanceof Error)) return error;
  return new AppError({
    code: "database_unavailable",
    status: 503,
    publicMessage: `Postgres at ${new URL(ownerUrl).host} cannot be reached: ${error.message}.`,
    hint: "See that it runs and that DATABASE_URL names it, then start again.",
    cause: error,
    retryable: true,
  });
}

/** Throws `secret_differs` when the role has another password: one that another secret was the root of. */
async function requirePassword(
  ownerUrl: string,
  { role, password }: { role: DbRole; password: string },
): Promise<void> {
  const url = new URL(ownerUrl);
  url.username = role;
  url.password = encodeURIComponent(password);
  const client = createClient(url.href);
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
    // Statements that are told to avoid a kind of plan cost "a billion" where there is no other: a server that compiles
    // what is dear would do so at each claim, which takes longer than the claim.
    await client.query(`ALTER ROLE ${role} SET jit = off`);
    // Prisma writes times without a zone and drops the zone that it reads, which is right in UTC only.
    await client.query(`ALTER ROLE ${role} SET timezone = 'UTC'`);
    await client.query(
      `ALTER ROLE ${role} SET idle_in_transaction_session_timeout = '${IDLE_TIMEOUT[role]}'`,
    );
  }
  await client.query("GRANT guildhall_definer TO CURRENT_USER WITH SET TRUE");
}

type Applied = { version: number; checksum: string; needs: number };

async function readApplied(client: pg.Client): Promise<Applied[]> {
  await client.query(
    "CREATE TABLE IF NOT EXISTS schema_migrations (version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, needs int NOT NULL DEFAULT 0, applied_at timestamptz NOT NULL DEFAULT now())",
  );
  const { rows } = await client.query<Applied>(
    "SELECT version, checksum, needs FROM schema_migrations",
  );
  return rows;
}

/** A release works on the schema of a newer one until something that it uses is taken away. */
function requireKnown(applied: readonly Applied[], known: number): void {
  const newest = Math.max(0, ...applied.map(({ version }) => version));
  const needs = Math.max(0, ...applied.map((row) => row.needs));
  if (needs <= known) return;
  throw new AppError({
    code: "database_newer",
    status: 500,
    publicMessage: `The database is at migration ${newest} and needs code of ${needs}; this release knows ${known}.`,
    hint: "Start the newer release, or restore a backup made by this one.",
  });
}

/** In a transaction of its own; again from the beginning when a table that it needs is in use. */
async function apply(client: pg.Client, migration: Migration): Promise<void> {
  const { version, name, checksum, sql, needs } = migration;
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query("BEGIN");
      await client.query(sql);
      await client.query(
        "INSERT INTO schema_migrations (version, name, checksum, needs) VALUES ($1, $2, $3, $4)",
        [version, name, checksum, needs],
      );
      await client.query("COMMIT");
      return;
    } catch (error) {
      await client.query("ROLLBACK");
      if (!hasCode(error, LOCK_NOT_AVAILABLE)) throw error;
      if (attempt === LOCK_TRIES)
        throw new AppError({
          code: "migration_blocked",
          status: 500,
          publicMessage: `Migration ${name} found a table that it changes in use, ${LOCK_TRIES} times in a row.`,
          hint: "End what holds it (a long transaction: see pg_stat_activity), and start again.",
          cause: error,
        });
    }
    await delay(LOCK_PAUSE_MS * (0.5 + Math.random()));
  }
}

async function applyPending(client: pg.Client, migrations: readonly Migration[]): Promise<number> {
  const rows = await readApplied(client);
  requireKnown(rows, migrations.at(-1)?.version ?? 0);
  const applied = new Map(rows.map((row) => [row.version, row.checksum]));
  let count = 0;
  for (const migration of migrations) {
    const checksum = applied.get(migration.version);
    if (checksum === undefined) {
      await apply(client, migration);
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
  const client = createClient(options.ownerUrl);
  try {
    await client.connect();
    await client.query("SELECT pg_advisory_lock($1)", [MIGRATION_LOCK]);
    await client.query(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await ensureRoles(client, options);
    return await applyPending(client, migrations);
  } catch (error) {
    throw explained(error, options.ownerUrl);
  } finally {
    await client.end().catch(() => undefined);
  }
}

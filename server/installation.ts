import { readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Config } from "./platform/config.ts";
import { closeAll } from "./platform/close-all.ts";
import { makeDataFolder } from "./platform/data-folder.ts";
import { requireDataFolderVersion } from "./platform/data-folder-version.ts";
import { createDb, type Db, type DbRole } from "./platform/db.ts";
import { startEmbeddedPostgres } from "./platform/postgres-server/embedded-postgres.ts";
import { AppError } from "./platform/errors.ts";
import { newSecret } from "./platform/ids.ts";
import { acquireInstanceLock, type InstanceLock } from "./platform/instance-lock.ts";
import type { Logger } from "./platform/log.ts";
import { migrate } from "./platform/migrate.ts";
import { preparePrisma } from "./platform/prisma.ts";
import { deriveSecret, Secret } from "./platform/secret.ts";
import { hasCode } from "./platform/system-error.ts";

/** What an installation keeps: its folder, its root secret and its database. */
export type Installation = {
  dataDir: string;
  rootSecret: Secret;
  db: Db;
  /** Owner connection, for migrations; never for requests. */
  ownerUrl: string;
  /** For LISTEN and NOTIFY, past a pooler. */
  listenUrl: string;
  /** For Prisma Studio: sees all workspaces, is not the owner. */
  platformUrl: string;
  /** How the database is run, for people: `embedded Postgres 16.14` or `Postgres at db.example:5432`. */
  database: string;
  migrationsApplied: number;
  /** Whether no other process works in the data folder. */
  isAlone: boolean;
  setAddress(url: string): Promise<void>;
  close(): Promise<void>;
};

/** Where a running installation tells other commands of the same user how to reach its database. */
const ADDRESS_FILE = "database-url";

/** The root secret: configured, or made once and kept beside the data, readable by its user only. */
async function openRootSecret(config: Config, dataDir: string): Promise<Secret> {
  if (config.GUILDHALL_SECRET) return config.GUILDHALL_SECRET;
  const path = join(dataDir, "secret");
  try {
    await writeFile(path, newSecret(), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  }
  const text = (await readFile(path, "utf8")).trim();
  if (text.length < 32)
    throw new AppError({
      code: "secret_damaged",
      status: 500,
      publicMessage: `${path} is empty or damaged.`,
      hint: "Restore it from a backup, or set GUILDHALL_SECRET; without it stored credentials cannot be read.",
    });
  return new Secret(text);
}

/** The URL of the owner's database for a login role of migrations/0001. */
export function roleUrl(options: {
  ownerUrl: string;
  role: DbRole;
  passwordOf(role: DbRole): string;
}): string {
  const url = new URL(options.ownerUrl);
  url.username = options.role;
  url.password = encodeURIComponent(options.passwordOf(options.role));
  return url.href;
}

/** Of the embedded database, for one process with all roles. */
const MAX_CONNECTIONS = 200;

type InstallationOptions = {
  /** This process has only some of the roles. */
  isPart?: boolean;
  /** Of the embedded database. */
  maxConnections?: number;
};

type OpenDatabase = { ownerUrl: string; description: string; stop(): Promise<void> };

async function openDatabase(
  config: Config,
  options: { dataDir: string; log: Logger; maxConnections?: number },
): Promise<OpenDatabase> {
  const { dataDir, log, maxConnections = MAX_CONNECTIONS } = options;
  const external = config.DATABASE_DIRECT_URL ?? config.DATABASE_URL;
  if (external !== undefined) {
    const url = new URL(external);
    return {
      ownerUrl: external,
      description: `Postgres at ${url.host}`,
      stop: () => Promise.resolve(),
    };
  }
  const server = await startEmbeddedPostgres({
    dataDir: join(dataDir, "postgres"),
    log: ({ level, msg }) => log[level]({ part: "postgres" }, msg),
    settings: { max_connections: String(maxConnections) },
  });
  const password = encodeURIComponent(server.password);
  return {
    ownerUrl: `postgres://${server.superuser}:${password}@${server.host}:${server.port}/postgres`,
    description: `embedded Postgres ${server.version}`,
    stop: () => server.stop(),
  };
}

function openDb(options: {
  config: Config;
  ownerUrl: string;
  passwordOf(role: DbRole): string;
  log: Logger;
}): Db {
  // Requests go through the pooler where there is one; the owner's connection does not.
  const url = new URL(options.config.DATABASE_URL ?? options.ownerUrl);
  return createDb({
    address: {
      host: url.hostname,
      port: Number(url.port || 5432),
      database: decodeURIComponent(url.pathname.slice(1)) || "postgres",
      ...(url.searchParams.get("sslmode") === "require" ? { ssl: true } : {}),
    },
    passwordOf: options.passwordOf,
    log: options.log,
  });
}

/**
 * Claims the data folder, starts or finds the database and brings it to this release. A part of an installation
 * (`isPart`) claims nothing, for other parts may share the folder, and takes what all share from the settings.
 * Throws `AppError` with what to do: `instance_running`, `data_folder_not_writable`, `database_unavailable`,
 * `secret_differs`, ...
 */
export async function openInstallation(
  config: Config,
  log: Logger,
  { isPart = false, ...database }: InstallationOptions = {},
): Promise<Installation> {
  const dataDir = await makeDataFolder(resolve(config.GUILDHALL_DATA_DIR));
  await requireDataFolderVersion(dataDir);
  const lock: InstanceLock | undefined = isPart ? undefined : await acquireInstanceLock(dataDir);
  const undo: (() => Promise<void>)[] = [async () => lock?.release()];
  async function close(): Promise<void> {
    await closeAll(undo.splice(0).toReversed());
  }
  try {
    await preparePrisma();
    const rootSecret = await openRootSecret(config, dataDir);
    const passwordOf = (role: DbRole): string => deriveSecret(rootSecret, `database-role:${role}`);
    const opened = await openDatabase(config, { dataDir, log, ...database });
    undo.push(() => opened.stop());
    if (!isPart) {
      const addressFile = join(dataDir, ADDRESS_FILE);
      await writeFile(addressFile, opened.ownerUrl, { mode: 0o600 });
      undo.push(() => rm(addressFile, { force: true }));
    }
    const { ownerUrl } = opened;
    const migrationsApplied = await migrate({ ownerUrl, passwordOf, samePasswords: isPart });
    const db = openDb({ config, ownerUrl, passwordOf, log });
    undo.push(() => db.close());
    return {
      dataDir,
      rootSecret,
      db,
      ownerUrl,
      platformUrl: roleUrl({ ownerUrl, role: "guildhall_platform", passwordOf }),
      listenUrl: roleUrl({ ownerUrl, role: "guildhall_app", passwordOf }),
      database: opened.description,
      migrationsApplied,
      isAlone: !isPart,
      setAddress: async (url) => lock?.setAddress(url),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * The database for a command such as `guildhall verify`: of the running installation when there is one, else started
 * for as long as the command runs.
 */
export async function attachDatabase(
  config: Config,
  log: Logger,
): Promise<{ db: Db; ownerUrl: string; platformUrl: string; close(): Promise<void> }> {
  try {
    return await openInstallation(config, log);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "instance_running") throw error;
  }
  const dataDir = resolve(config.GUILDHALL_DATA_DIR);
  const ownerUrl = await readFile(join(dataDir, ADDRESS_FILE), "utf8").catch((error: unknown) => {
    if (!hasCode(error, "ENOENT")) throw error;
    throw new AppError({
      code: "instance_starting",
      status: 503,
      publicMessage: `Guildhall is just starting or stopping on the data folder ${dataDir}.`,
      hint: "Try again in a few seconds.",
      cause: error,
    });
  });
  const rootSecret = await openRootSecret(config, dataDir);
  const passwordOf = (role: DbRole): string => deriveSecret(rootSecret, `database-role:${role}`);
  const db = openDb({ config, ownerUrl, passwordOf, log });
  return {
    db,
    ownerUrl,
    platformUrl: roleUrl({ ownerUrl, role: "guildhall_platform", passwordOf }),
    close: () => db.close(),
  };
}

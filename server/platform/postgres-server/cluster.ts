import { spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { chown, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { notWritable } from "../data-folder.ts";
import { AppError } from "../errors.ts";
import { asAccount, type PostgresAccount } from "./account.ts";
import type { PostgresBinaries } from "./binaries.ts";
import { clusterDirOf, type PostgresHome } from "./home.ts";
import { hasCode } from "../system-error.ts";

/** A made database: its Postgres data directory, and the password of its superuser `postgres`. */
export type PostgresCluster = { dir: string; password: string };

const partPrefix = "cluster.part-";

/**
 * Opens the database in `home`, or makes it. It is made under another name and renamed when it is complete,
 * so a start that is killed half way leaves nothing that a later one could take for a database.
 * `sync: false` skips flushing the new files to disk, for tests.
 */
export async function preparePostgresCluster(options: {
  home: PostgresHome;
  binaries: PostgresBinaries;
  sync: boolean;
  log: (line: { level: "info"; msg: string }) => void;
}): Promise<PostgresCluster> {
  const { home, binaries } = options;
  const dir = clusterDirOf(home.dir);
  const major = await findMajor(dir);
  if (major === undefined) return makeCluster(options);
  if (major !== binaries.major) {
    throw new AppError({
      code: "data_folder_version",
      status: 500,
      publicMessage: `The database in ${dir} was made by Postgres ${major}, and this Guildhall brings Postgres ${binaries.major}.`,
      hint: "Export it with the Guildhall that made it and pg_dump, or move the folder away to start with an empty database.",
    });
  }
  return { dir, password: await readPassword(home) };
}

/**
 * Fails with code `data_folder_replaced` when another database has come to stand in the place of `cluster`, as
 * when somebody deleted the data folder of a running Guildhall and started a second one. What runs there now is
 * the second one's, and neither ours to stop nor to start.
 */
export async function checkStillSameCluster(
  home: PostgresHome,
  cluster: PostgresCluster,
): Promise<void> {
  if ((await readPassword(home)) === cluster.password) return;
  throw new AppError({
    code: "data_folder_replaced",
    status: 500,
    publicMessage: `${home.dir} holds another database than the one that was started from it.`,
    hint: "Stop this Guildhall; another one uses the folder.",
  });
}

async function findMajor(dir: string): Promise<string | undefined> {
  try {
    return (await readFile(join(dir, "PG_VERSION"), "utf8")).trim();
  } catch (cause) {
    if (hasCode(cause, "ENOENT")) return undefined;
    throw foreign(dir, cause);
  }
}

async function readPassword(home: PostgresHome): Promise<string> {
  const file = passwordFileOf(home);
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    if (!hasCode(cause, "ENOENT")) throw foreign(file, cause);
    throw new AppError({
      code: "data_folder_password_missing",
      status: 500,
      publicMessage: `The password file ${file} of the embedded database is missing.`,
      hint: "Restore it from a backup, or move the data folder away to start with an empty database.",
      cause,
    });
  }
}

function foreign(path: string, cause: unknown): AppError {
  return new AppError({
    code: "data_folder_not_writable",
    status: 500,
    publicMessage: `${path} belongs to another user.`,
    hint: "Start Guildhall as the user who started it first (root, if that was with sudo), or choose another data folder.",
    cause,
  });
}

async function makeCluster(
  options: Parameters<typeof preparePostgresCluster>[0],
): Promise<PostgresCluster> {
  const { home, binaries, log } = options;
  const dir = clusterDirOf(home.dir);
  const partDir = join(home.dir, `${partPrefix}${randomUUID()}`);
  log({ level: "info", msg: `making the database in ${home.dir}` });
  try {
    for (const name of await readdir(home.dir)) {
      if (name.startsWith(partPrefix))
        await rm(join(home.dir, name), { recursive: true, force: true, maxRetries: 5 });
    }
    const password = randomBytes(24).toString("base64url");
    const passwordFile = passwordFileOf(home);
    await rm(passwordFile, { force: true });
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600, flag: "wx" });
    await mkdir(partDir, { mode: 0o700 });
    if (home.account) await giveTo(home.account, [passwordFile, partDir]);
    await runInitdb({ binaries, account: home.account, partDir, passwordFile, sync: options.sync });
    await rename(partDir, dir);
    return { dir, password };
  } catch (cause) {
    throw cause instanceof AppError ? cause : notWritable(home.dir, cause);
  }
}

function passwordFileOf(home: PostgresHome): string {
  return join(home.dir, "superuser-password");
}

async function giveTo(account: PostgresAccount, paths: readonly string[]): Promise<void> {
  for (const path of paths) await chown(path, account.uid, account.gid);
}

async function runInitdb(options: {
  binaries: PostgresBinaries;
  account: PostgresAccount | undefined;
  partDir: string;
  passwordFile: string;
  sync: boolean;
}): Promise<void> {
  const args = [
    "--pgdata",
    options.partDir,
    "--username",
    "postgres",
    "--pwfile",
    options.passwordFile,
  ];
  args.push(
    "--auth",
    "scram-sha-256",
    "--encoding",
    "UTF8",
    "--locale",
    "C",
    "--data-checksums",
    "--no-instructions",
  );
  if (!options.sync) args.push("--no-sync");
  const child = spawn(options.binaries.initdb, args, {
    cwd: "/",
    env: postgresEnv(),
    stdio: ["ignore", "ignore", "pipe"],
    ...asAccount(options.account),
  });
  const closed = once(child, "close");
  const [complaint, [code]] = await Promise.all([text(child.stderr), closed]);
  if (code === 0) return;
  const reason =
    complaint.split("\n").find((line) => line.includes("error:") || line.includes("FATAL")) ??
    complaint.trim();
  throw new AppError({
    code: "postgres_init_failed",
    status: 500,
    publicMessage: `The embedded database could not be made: ${reason.trim() || `initdb ended with ${code}`}`,
    hint: "Clear the cause named here, or set DATABASE_URL to a Postgres of your own.",
    internal: complaint,
  });
}

/**
 * Environment of the Postgres programs: nothing of ours, because that holds API keys, which SQL of a
 * superuser could read, and PG* variables, which would change what the programs do.
 */
export function postgresEnv(): NodeJS.ProcessEnv {
  const systemRoot = process.env["SystemRoot"];
  return {
    PATH: process.env["PATH"],
    LC_ALL: "C",
    TZ: "UTC",
    ...(systemRoot && { SystemRoot: systemRoot }),
  };
}

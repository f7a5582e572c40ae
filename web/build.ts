import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { access, mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { hashSources } from "./build-stamp.ts";
import { webFolder } from "./vite-config.ts";

/** Where the page of a checkout is built, for all installations that are started from it. */
export const webBuilds = join(webFolder, "dist");

/** A server may still serve the page of older sources: what was used within a day stays, and so many in any case. */
const BUILDS_KEPT = 5;
const KEPT_FOR_MS = 24 * 3_600_000;
const UNFINISHED_PREFIX = "unfinished-";
/** No build takes so long: what is older was left by a process that was killed. */
const UNFINISHED_FOR_MS = 3_600_000;

function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}

async function sourcesHash(): Promise<string> {
  const root = join(webFolder, "..");
  const hash = await hashSources({
    folders: [webFolder, join(root, "sdk", "contract"), join(root, "sdk", "client")],
    // Without a lockfile (in a package) the installed versions cannot change beneath the sources.
    files: [join(root, "package-lock.json")],
  });
  return hash.slice(0, 16);
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/**
 * A process of its own: the bundler takes 400 MB that the server would never give back, and the page is built for
 * production whatever the NODE_ENV of the server is.
 */
async function runBuild(outDir: string): Promise<void> {
  const program = fileURLToPath(new URL("./build-page.ts", import.meta.url));
  const child = spawn(process.execPath, [program, outDir], {
    env: { ...process.env, NODE_ENV: "production" },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`The build of the page ended with code ${String(code)}.`);
}

/** A build's time of change says when a start last took it. */
async function markUsed(folder: string): Promise<void> {
  const now = new Date();
  // In a checkout of another user nobody can; there its owner's starts count.
  await utimes(folder, now, now).catch(() => undefined);
}

async function removeOld(builds: string, keep: string): Promise<void> {
  const found: { name: string; path: string; usedMs: number }[] = [];
  for (const name of await readdir(builds)) {
    const path = join(builds, name);
    const info = await stat(path).catch(() => undefined);
    if (info && path !== keep) found.push({ name, path, usedMs: info.mtimeMs });
  }
  const isUnfinished = ({ name }: { name: string }): boolean => name.startsWith(UNFINISHED_PREFIX);
  const superseded = found
    .filter((build) => !isUnfinished(build))
    .toSorted((a, b) => b.usedMs - a.usedMs)
    .slice(BUILDS_KEPT - 1)
    .filter((build) => build.usedMs < Date.now() - KEPT_FOR_MS);
  const left = found.filter(
    (build) => isUnfinished(build) && build.usedMs < Date.now() - UNFINISHED_FOR_MS,
  );
  for (const { path } of [...superseded, ...left]) await rm(path, { recursive: true, force: true });
}

async function buildInto(builds: string, hash: string): Promise<string> {
  const folder = join(builds, hash);
  // Not by mkdtemp, whose folders nobody else may enter: another user of this machine can use the build too.
  const fresh = join(builds, `${UNFINISHED_PREFIX}${randomUUID()}`);
  try {
    await mkdir(fresh, { recursive: true });
    await runBuild(fresh);
    // Another process may have built the same meanwhile; then its build is as good.
    await rename(fresh, folder).catch((error: unknown) => {
      if (!hasCode(error, "EEXIST", "ENOTEMPTY", "EPERM")) throw error;
    });
    await removeOld(builds, folder);
    return folder;
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

/**
 * The page built from the present sources, in a folder that never changes again: each state of the sources has its
 * own, so a start neither disturbs what another server serves nor waits for it. Reading the sources takes
 * milliseconds, so every start may ask. `places` are looked through in order; the first that this user may write to
 * gets a missing build.
 */
export async function buildWeb({
  places,
}: {
  places: readonly [string, ...string[]];
}): Promise<{ built: boolean; folder: string }> {
  const hash = await sourcesHash();
  for (const builds of places) {
    const folder = join(builds, hash);
    if (await isThere(join(folder, "index.html"))) {
      await markUsed(folder);
      return { built: false, folder };
    }
  }
  for (const [index, builds] of places.entries()) {
    try {
      return { built: true, folder: await buildInto(builds, hash) };
    } catch (error) {
      const last = index === places.length - 1;
      if (last || !hasCode(error, "EACCES", "EPERM", "EROFS")) throw error;
    }
  }
  throw new Error("There is no place to build the page in.");
}

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { afterEach, vi } from "vitest";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "./embedded-postgres.ts";

export const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("NOT ROOT: the guarantees for starts as root are not tested in this run");

// Making a database takes half a second on a free machine, and many times that on one that runs a whole suite.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** Runs after the test, last registered first. */
export function cleanUp(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

/** A new folder that everyone may enter, as the folders of mkdtemp are not; removed after the test. */
export async function makeTestFolder(mode = 0o755): Promise<string> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), "guildhall-test-")));
  await chmod(dir, mode);
  cleanUp(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

/** Starts a server without fsync, stopped after the test. Collects what it logs in `lines`. */
export async function startForTest(
  options: Partial<Parameters<typeof startEmbeddedPostgres>[0]> & { dataDir: string },
): Promise<EmbeddedPostgres & { lines: string[] }> {
  const lines: string[] = [];
  const server = await startEmbeddedPostgres({
    settings: { fsync: "off" },
    log: (line) => lines.push(`${line.level} ${line.msg}`),
    ...options,
  });
  cleanUp(() => server.stop());
  return { ...server, lines };
}

/** Rows of one statement, as the superuser. */
export async function query(
  server: Pick<EmbeddedPostgres, "port" | "password">,
  sql: string,
): Promise<Record<string, unknown>[]> {
  const { port, password } = server;
  const client = new pg.Client({ host: "127.0.0.1", port, password, user: "postgres" });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/**
 * Runs `code` as a module in a Node process of its own, in which `load(file)` imports from server/platform,
 * `need(name)` from the installed packages, and `say(value)` adds to what `heard` yields. Killed after the test.
 */
export function runScript(
  code: string,
  spawnOptions: { uid?: number; gid?: number; detached?: boolean } = {},
): { child: ChildProcess; heard: AsyncIterator<string> } {
  const base = JSON.stringify(new URL("../", import.meta.url).href);
  const prelude = `const { createRequire } = await import("node:module");
    const load = (file) => import(new URL(file, ${base}).href);
    const need = createRequire(${base});
    const say = (value) => process.stdout.write(JSON.stringify(value) + "\\n");
    const sayError = (error) => say({ code: error.code, publicMessage: error.publicMessage, hint: error.hint });\n`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", prelude + code], {
    cwd: "/",
    stdio: ["pipe", "pipe", "inherit"],
    ...spawnOptions,
  });
  cleanUp(() => kill(child));
  return { child, heard: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
}

/** The next thing that a script said. */
export async function hear<T>(script: { heard: AsyncIterator<string> }): Promise<T> {
  const line = await script.heard.next();
  if (line.done) throw new Error("the script ended without a word");
  return JSON.parse(line.value) as T;
}

/** SIGKILL; resolves when the process is gone. */
export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

/** Spawn options of a user who may write nowhere that root may; this user itself when that is not root. */
export const ordinaryUser = isRoot ? { uid: 65534, gid: 65534 } : {};

/** Resolves when `condition` holds. */
export async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await delay(2);
}

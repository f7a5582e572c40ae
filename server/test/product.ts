import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { configSchema } from "../platform/config.ts";

/** The whole product as a user starts it: its own process, its own data folder. */
export type Product = {
  url: string;
  signInLink: string;
  apiKey: string;
  dataDir: string;
  process: ChildProcess;
  /** Everything it has printed, both streams. */
  output(): string;
  /** Runs a client command against it. */
  cli(...args: string[]): Promise<CommandResult>;
  /** Sends a request with the key of the local command line. */
  api(path: string, init?: RequestInit): Promise<Response>;
  /** Ctrl-C, and waits for the end. -> the exit code */
  stop(): Promise<number | null>;
  /** kill -9; the data folder stays for the next start. */
  kill(): Promise<void>;
};

export type CommandResult = { code: number | null; stdout: string; stderr: string };

type Env = Readonly<Record<string, string | undefined>>;

export const checkout = resolve(fileURLToPath(import.meta.url), "../../..");
export const PROGRAM = join(checkout, "server/bin.ts");
const START_DEADLINE_MS = 180_000;

/** Settings of whoever runs the tests, a real model's key first of all, must not reach the product under test. */
const CLEARED = [...Object.keys(configSchema.shape), "GUILDHALL_URL", "GUILDHALL_API_KEY"];

export function environment(env: Env): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !CLEARED.includes(name));
  return { ...Object.fromEntries(own), ...env };
}

/** A new data folder. Everyone may enter it: as root the database runs as another user, who else gets another folder. */
export async function makeDataDir(): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), "guildhall-product-"));
  await chmod(dataDir, 0o755);
  return dataDir;
}

export async function removeDataDir(dataDir: string): Promise<void> {
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
}

export function collect(child: ChildProcess): { stdout: string; stderr: string } {
  const chunks = { stdout: "", stderr: "" };
  child.stdout?.on("data", (data: Buffer) => (chunks.stdout += data.toString()));
  child.stderr?.on("data", (data: Buffer) => (chunks.stderr += data.toString()));
  return chunks;
}

/** Runs `guildhall <args>` to its end; as another user with `uid`. */
export async function runGuildhall(
  args: readonly string[],
  env: Env,
  options: { cwd?: string; uid?: number } = {},
): Promise<CommandResult> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: checkout,
    env: environment(env),
    ...options,
  });
  const chunks = collect(child);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...chunks };
}

/** Resolves when a start has printed it. Rejects with all that was printed when the process ends before, or takes too long. */
export function whenPrinted(
  child: ChildProcess,
  output: () => string,
  pattern: RegExp,
): Promise<RegExpExecArray> {
  return new Promise((found, failed) => {
    const deadline = setTimeout(
      () => failed(new Error(`not ready in time:\n${output()}`)),
      START_DEADLINE_MS,
    );
    child.stdout?.on("data", () => {
      const match = pattern.exec(output());
      if (match === null) return;
      clearTimeout(deadline);
      found(match);
    });
    child.once("close", () => {
      clearTimeout(deadline);
      failed(new Error(`ended before it was ready:\n${output()}`));
    });
  });
}

export type StartOptions = {
  dataDir: string;
  env?: Env;
  /** A command that runs the product for us, as `sudo` would; it must become the product. */
  launcher?: readonly string[];
  /** Another path to the program than that of this checkout. */
  program?: string;
  /** `start` by default. */
  command?: "start" | "cluster";
};

/** Starts the product and resolves when it says that it is ready. Rejects with its output when it ends before. */
export async function startProduct(options: StartOptions): Promise<Product> {
  const { dataDir, launcher = [], program = PROGRAM, command: verb = "start" } = options;
  const [command, ...args] = [...launcher, process.execPath, program, verb];
  const child = spawn(command ?? process.execPath, args, {
    cwd: checkout,
    env: environment({
      GUILDHALL_DATA_DIR: dataDir,
      PORT: "0",
      GATEWAY_PORT: "0",
      SIMULATOR_EVENT_DELAY_MS: "0",
      ...options.env,
    }),
    // A process group of its own, to which a terminal's Ctrl-C can be played.
    detached: true,
  });
  const endWithTests = (): void => void child.kill("SIGTERM");
  process.once("exit", endWithTests);
  const closed = once(child, "close").then(() => process.off("exit", endWithTests));
  const chunks = collect(child);
  const output = (): string => chunks.stdout + chunks.stderr;
  function signal(name: NodeJS.Signals): void {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      process.kill(-child.pid, name);
  }
  // The last line of a start.
  const [, signInLink = ""] = await whenPrinted(child, output, /sign in\s+(\S+)/);
  const credential = JSON.parse(await readFile(join(dataDir, "cli.json"), "utf8")) as {
    url: string;
    api_key: string;
  };
  return {
    url: credential.url,
    signInLink,
    apiKey: credential.api_key,
    dataDir,
    process: child,
    output,
    cli: (...args) => runGuildhall(args, { GUILDHALL_DATA_DIR: dataDir }),
    api: (path, init = {}) => {
      const headers = new Headers(init.headers);
      if (!headers.has("authorization"))
        headers.set("authorization", `Bearer ${credential.api_key}`);
      return fetch(new URL(path, credential.url), { ...init, headers });
    },
    async stop() {
      signal("SIGINT");
      await closed;
      return child.exitCode;
    },
    async kill() {
      signal("SIGKILL");
      await closed;
    },
  };
}

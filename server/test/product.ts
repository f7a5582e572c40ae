import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The whole product as a user starts it: its own process, its own data folder. */
export type Product = {
  url: string;
  signInLink: string;
  apiKey: string;
  dataDir: string;
  process: ChildProcess;
  /** Everything it has printed, both streams. */
  output(): string;
  /** Ctrl-C, and waits for the end. -> the exit code */
  stop(): Promise<number | null>;
  /** kill -9; the data folder stays for the next start. */
  kill(): Promise<void>;
};

const ROOT = resolve(fileURLToPath(import.meta.url), "../../..");
const START_DEADLINE_MS = 60_000;

export async function makeDataDir(): Promise<string> {
  return mkdtemp(join(tmpdir(), "guildhall-product-"));
}

export async function removeDataDir(dataDir: string): Promise<void> {
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
}

/** Runs `guildhall <args>` to its end. */
export async function runGuildhall(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  cwd: string = ROOT,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(ROOT, "server/bin.ts"), ...args], {
    cwd,
    env: { ...process.env, ...env },
  });
  const chunks = { stdout: "", stderr: "" };
  child.stdout.on("data", (data: Buffer) => (chunks.stdout += data.toString()));
  child.stderr.on("data", (data: Buffer) => (chunks.stderr += data.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...chunks };
}

/** Starts the product and resolves when it says that it is ready. Rejects with its output when it ends before. */
export async function startProduct(options: {
  dataDir: string;
  env?: Readonly<Record<string, string>>;
}): Promise<Product> {
  const child = spawn(process.execPath, [join(ROOT, "server/bin.ts"), "start"], {
    cwd: ROOT,
    env: {
      ...process.env,
      GUILDHALL_DATA_DIR: options.dataDir,
      PORT: "0",
      GATEWAY_PORT: "0",
      SIMULATOR_EVENT_DELAY_MS: "0",
      ...options.env,
    },
  });
  let output = "";
  let ended = false;
  const closed = once(child, "close").then(() => (ended = true));
  const ready = new Promise<RegExpExecArray>((found, failed) => {
    const look = (data: Buffer): void => {
      output += data.toString();
      const match = /sign in\s+(\S+)/.exec(output);
      if (match) found(match);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    const deadline = setTimeout(
      () => failed(new Error(`not ready in time:\n${output}`)),
      START_DEADLINE_MS,
    );
    void closed.then(() => failed(new Error(`ended before it was ready:\n${output}`)));
    void ready.catch(() => undefined).finally(() => clearTimeout(deadline));
  });
  const [, signInLink = ""] = await ready;
  const credential = JSON.parse(await readFile(join(options.dataDir, "cli.json"), "utf8")) as {
    url: string;
    api_key: string;
  };
  return {
    url: credential.url,
    signInLink,
    apiKey: credential.api_key,
    dataDir: options.dataDir,
    process: child,
    output: () => output,
    async stop() {
      if (!ended) child.kill("SIGINT");
      await closed;
      return child.exitCode;
    },
    async kill() {
      child.kill("SIGKILL");
      await closed;
    },
  };
}

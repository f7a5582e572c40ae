import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { ClientToServer, ServerToClient } from "@guildhall/sdk/contract/socket.ts";
import { scopes } from "@guildhall/sdk/contract/workspace.ts";
import type { FaultPlan } from "@guildhall/simulator/delivery/faults.ts";
import { createSimulator } from "@guildhall/simulator/simulator.ts";
import pg from "pg";
import { io, type Socket } from "socket.io-client";
import { createIdentity } from "../identity/identity.ts";
import { ensureLocalWorkspace } from "../identity/local-workspace.ts";
import { seedAgents } from "../agents/agents.ts";
import { parseLauncherMessage, type ReadyProcess } from "../launcher-messages.ts";
import { createLedger } from "../ledger/ledger.ts";
import { localPlan } from "../local-plan.ts";
import { verify } from "../operator/verify.ts";
import { systemClock } from "../platform/clock.ts";
import { createDb } from "../platform/db.ts";
import { newId, newSecret } from "../platform/ids.ts";
import { createLogger } from "../platform/log.ts";
import { migrate } from "../platform/migrate.ts";
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from "../platform/postgres-server/embedded-postgres.ts";
import { deriveSecret, Secret } from "../platform/secret.ts";
import type { Role } from "../roles.ts";
import { type FaultProxy, openFaultProxy } from "./fault-proxy.ts";
import { checkout, collect, environment, makeDataDir, PROGRAM, removeDataDir } from "./product.ts";

/** One process of an installation. */
export type RoleProcess = {
  /** Of the API, or of health and metrics. */
  url: string;
  /** Of its gateway, when it has one. */
  gatewayUrl: string;
  /** Owner of its gateway's holds. */
  processId: string;
  process: ChildProcess;
  /** What lies between it and those it talks to. */
  links: Links;
  output(): string;
  /** SIGTERM, and waits for the end. -> the exit code */
  stop(): Promise<number | null>;
  kill(): Promise<void>;
  /** SIGSTOP: it does nothing and notices nothing, and its sockets stay open. */
  freeze(): void;
  thaw(): void;
};

/** `gateway` of a worker, `provider` of a process that calls the model, `redis` where there is one. */
export type Links = {
  database: FaultProxy;
  provider: FaultProxy;
  gateway?: FaultProxy;
  redis?: FaultProxy;
};

export type Page = Socket<ServerToClient, ClientToServer>;

type Env = Readonly<Record<string, string>>;

/** The same address through a proxy of its own. */
async function behindProxy(address: string): Promise<{ url: string; proxy: FaultProxy }> {
  const url = new URL(address);
  const proxy = await openFaultProxy({ host: url.hostname, port: Number(url.port) });
  url.port = String(proxy.port);
  return { url: url.href.replace(/\/$/, ""), proxy };
}

/** The environment of a process in which each of its connections goes through a proxy of its own, and these. */
async function withLinks(roles: readonly Role[], env: Env): Promise<{ env: Env; links: Links }> {
  const database = await behindProxy(env["DATABASE_URL"] ?? "");
  const provider = await behindProxy(env["SIMULATOR_URL"] ?? "");
  const links: Links = { database: database.proxy, provider: provider.proxy };
  const own: Record<string, string> = { ...env, DATABASE_URL: database.url };
  own["SIMULATOR_URL"] = provider.url;
  const { GATEWAY_URL: gatewayUrl, REDIS_URL: redisUrl } = env;
  // An API tells the address to others.
  if (gatewayUrl !== undefined && roles.includes("worker") && !roles.includes("api")) {
    const { url, proxy } = await behindProxy(gatewayUrl);
    own["GATEWAY_URL"] = url;
    links.gateway = proxy;
  }
  if (redisUrl !== undefined) {
    const { url, proxy } = await behindProxy(redisUrl);
    own["REDIS_URL"] = url;
    links.redis = proxy;
  }
  return { env: own, links };
}

/** What it tells whoever has started it. Rejects with all that was printed when it ends before. */
function whenReady(child: ChildProcess, output: () => string): Promise<ReadyProcess> {
  return new Promise((resolve, reject) => {
    child.on("message", (sent) => {
      const message = parseLauncherMessage(sent);
      if (message?.type === "ready") resolve(message);
    });
    child.once("close", () => reject(new Error(`ended before it was ready:\n${output()}`)));
  });
}

async function startProcess(start: {
  roles: readonly Role[];
  env: Env;
  program: string;
  /** There is a process, which may yet fail to become ready. */
  onSpawn(child: ChildProcess): void;
}): Promise<RoleProcess> {
  const { roles, program, onSpawn } = start;
  const { env, links } = await withLinks(roles, start.env);
  const options = roles.map((role) => `--role=${role}`);
  const child = spawn(process.execPath, [program, "start", ...options], {
    cwd: checkout,
    env: environment(env),
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  onSpawn(child);
  const closed = once(child, "close");
  const chunks = collect(child);
  const output = (): string => chunks.stdout + chunks.stderr;
  const unlink = (): Promise<unknown> =>
    Promise.all(Object.values(links).map((link) => link.close()));
  void closed.then(unlink);
  const { url, gatewayUrl, processId } = await whenReady(child, output);
  return {
    url,
    gatewayUrl: gatewayUrl ?? "",
    processId,
    process: child,
    links,
    output,
    async stop() {
      child.kill("SIGTERM");
      await closed;
      return child.exitCode;
    },
    async kill() {
      child.kill("SIGKILL");
      await closed;
    },
    freeze: () => void child.kill("SIGSTOP"),
    thaw: () => void child.kill("SIGCONT"),
  };
}

/**
 * A database, a simulated model and a local workspace, over which processes of single roles are started. `env` counts
 * for all of them. Close it when they are no longer needed: it ends those that are left. `databaseFolder`: where the
 * database lies, when it matters.
 */
export async function openInstallationOfRoles(
  env: Env = {},
  { databaseFolder }: { databaseFolder?: string } = {},
) {
  const [dataDir, databaseDir] = [await makeDataDir(), databaseFolder ?? (await makeDataDir())];
  const openServer = (): Promise<EmbeddedPostgres> =>
    startEmbeddedPostgres({
      dataDir: `${databaseDir}/postgres`,
      log: () => {},
      settings: { fsync: "off", max_connections: "400" },
    });
  let server = await openServer();
  // A server that starts again has another port.
  const door = await openFaultProxy(server);
  const secret = new Secret(newSecret());
  const passwordOf = (role: string): string => deriveSecret(secret, `database-role:${role}`);
  const ownerUrl = `postgres://${server.superuser}:${server.password}@127.0.0.1:${door.port}/postgres`;
  await migrate({ ownerUrl, passwordOf });
  const db = createDb({
    address: { host: "127.0.0.1", port: door.port, database: "postgres" },
    passwordOf,
    log: createLogger({ level: "silent" }),
  });
  const simulator = createSimulator({ latency: { firstByteMs: 0, perEventMs: 0 } });
  const { url: simulatorUrl } = await simulator.listen();
  const { workspaceId, userId } = await ensureLocalWorkspace({
    db,
    openPlan: localPlan(10_000_000_000),
    seedAgents: (tx, workspace) =>
      seedAgents(tx, { workspaceId: workspace, model: "claude-sonnet-5-5" }),
  });
  const identity = createIdentity({ db, clock: systemClock, rootSecret: secret });
  const shared: Env = {
    GUILDHALL_DATA_DIR: dataDir,
    DATABASE_URL: ownerUrl,
    GUILDHALL_SECRET: secret.reveal(),
    PORT: "0",
    GATEWAY_PORT: "0",
    DRAIN_NOTICE_MS: "300",
    ...env,
  };
  const running = new Set<ChildProcess>();
  const ledger = createLedger({ db, processId: newId("wrk") });
  let closed = false;

  /** As a launcher does: what the dead had open may be compared with the provider's figures. */
  async function tellEnded(processId: string): Promise<void> {
    if (closed) return;
    try {
      await ledger.processEnded(processId);
    } catch {
      await delay(500);
      await tellEnded(processId);
    }
  }

  return {
    db,
    ownerUrl,
    simulator,
    workspaceId,
    userId,
    identity,
    shared,
    database: {
      /** SIGKILL of the server, and of all its processes with it. */
      kill(): void {
        server.kill();
        door.reset();
      },
      /** Starts it over the same data, which it then recovers. */
      async start(): Promise<void> {
        server = await openServer();
        door.aimAt(server);
      },
    },
    /** A connection of the database's owner, past all doors; for the caller to end. */
    async connectOwner(): Promise<pg.Client> {
      const owner = new pg.Client({ connectionString: ownerUrl });
      // It may be killed with the server.
      owner.on("error", () => undefined);
      await owner.connect();
      return owner;
    },
    /** Starts a process of these roles and resolves when it says that it is ready. `program`: of another checkout. */
    async start(roles: readonly Role[], own: Env = {}, program = PROGRAM): Promise<RoleProcess> {
      const provider: Env = { SIMULATOR_URL: simulatorUrl };
      const started = await startProcess({
        roles,
        env: { ...shared, ...provider, ...own },
        program,
        onSpawn(child) {
          running.add(child);
          child.once("close", () => running.delete(child));
        },
      });
      if (roles.includes("gateway"))
        started.process.once("close", () => void tellEnded(started.processId));
      started.process.once("close", (code: number | null) => {
        // Whatever a test waits for then, this is why it does not come.
        if (code !== null && code !== 0)
          console.error(`${roles.join(", ")} ended with ${code}:\n${started.output()}`);
      });
      return started;
    },
    /** The sockets of a page that the local owner has opened at this address; for the caller to close. */
    async openPage(url: string): Promise<Page> {
      const { token } = await identity.createSignInLink(userId);
      const { accessToken } = await identity.sessions.exchange({ token, origin: "local" });
      const page: Page = io(url, {
        path: "/v1/socket",
        transports: ["websocket"],
        auth: { access_token: accessToken },
        forceNew: true,
      });
      await new Promise<void>((connected, failed) => {
        page.once("connect", connected);
        page.once("connect_error", failed);
      });
      return page;
    },
    /** What goes wrong with the next model calls. */
    async setFaults(faults: FaultPlan): Promise<void> {
      await fetch(`${simulatorUrl}/sim/faults`, { method: "POST", body: JSON.stringify(faults) });
    },
    /** A key of the local owner for everything. */
    async createKey(): Promise<string> {
      const { key } = await identity.apiKeys.create({
        workspaceId,
        createdBy: userId,
        actor: `user:${userId}`,
        origin: "local",
        name: "Test",
        scopes: [...scopes],
      });
      return key;
    },
    /** Model calls that are under way. */
    async openHolds(): Promise<number> {
      const [row] = await db.withPlatform((tx) =>
        tx.query<{ n: number }>({
          text: "SELECT count(*) AS n FROM holds WHERE state IN ('HELD', 'DISPATCHED')",
          values: [],
        }),
      );
      return row?.n ?? 0;
    },
    /** How many leases the run of the task has lost. */
    async attemptsLost(taskId: string): Promise<number> {
      const [row] = await db.withPlatform((tx) =>
        tx.query<{ n: number }>({
          text: "SELECT failed_attempts AS n FROM runs WHERE task_id = $1",
          values: [taskId],
        }),
      );
      return row?.n ?? 0;
    },
    /** The laws that do not hold, when all is quiet. */
    async brokenLaws(): Promise<unknown[]> {
      return (await verify(db, { quiet: true })).filter((result) => !result.ok);
    },
    async close(): Promise<void> {
      closed = true;
      const ended = [...running].map((child) => once(child, "close"));
      for (const child of running) child.kill("SIGKILL");
      await Promise.all(ended);
      await simulator.close();
      await db.close();
      await door.close();
      await server.stop();
      for (const folder of [dataDir, databaseDir]) await removeDataDir(folder);
    },
  };
}

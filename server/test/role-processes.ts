import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { ClientToServer, ServerToClient } from "@guildhall/sdk/contract/socket.ts";
import { scopes } from "@guildhall/sdk/contract/workspace.ts";
import type { FaultPlan } from "@guildhall/simulator/delivery/faults.ts";
import { createSimulator } from "@guildhall/simulator/simulator.ts";
import { io, type Socket } from "socket.io-client";
import { createIdentity } from "../identity/identity.ts";
import { ensureLocalWorkspace } from "../identity/local-workspace.ts";
import { seedAgents } from "../agents/agents.ts";
import { localPlan } from "../local-plan.ts";
import { verify } from "../operator/verify.ts";
import { systemClock } from "../platform/clock.ts";
import { createDb } from "../platform/db.ts";
import { newSecret } from "../platform/ids.ts";
import { createLogger } from "../platform/log.ts";
import { migrate } from "../platform/migrate.ts";
import { startEmbeddedPostgres } from "../platform/postgres-server/embedded-postgres.ts";
import { deriveSecret, Secret } from "../platform/secret.ts";
import type { Role } from "../roles.ts";
import {
  checkout,
  collect,
  environment,
  makeDataDir,
  PROGRAM,
  removeDataDir,
  whenPrinted,
} from "./product.ts";

/** One process of an installation. */
export type RoleProcess = {
  /** Of the API, or of health and metrics. */
  url: string;
  /** Of its gateway, when it has one. */
  gatewayUrl: string;
  process: ChildProcess;
  output(): string;
  /** SIGTERM, and waits for the end. -> the exit code */
  stop(): Promise<number | null>;
  kill(): Promise<void>;
};

export type Page = Socket<ServerToClient, ClientToServer>;

type Env = Readonly<Record<string, string>>;

async function startProcess(roles: readonly Role[], env: Env): Promise<RoleProcess> {
  const options = roles.map((role) => `--role=${role}`);
  const child = spawn(process.execPath, [PROGRAM, "start", ...options], {
    cwd: checkout,
    env: environment(env),
  });
  const closed = once(child, "close");
  const chunks = collect(child);
  const output = (): string => chunks.stdout + chunks.stderr;
  const [, url = ""] = await whenPrinted(child, output, /ready\s+(\S+) in [\d.]+ s\n/);
  return {
    url,
    gatewayUrl: /▸ gateway\s+(\S+)/.exec(output())?.[1] ?? "",
    process: child,
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
  };
}

/**
 * A database, a simulated model and a local workspace, over which processes of single roles are started. `env` counts
 * for all of them. Close it when they are no longer needed: it ends those that are left.
 */
export async function openInstallationOfRoles(env: Env = {}) {
  const [dataDir, databaseDir] = [await makeDataDir(), await makeDataDir()];
  const server = await startEmbeddedPostgres({
    dataDir: `${databaseDir}/postgres`,
    log: () => {},
    settings: { fsync: "off", max_connections: "400" },
  });
  const secret = new Secret(newSecret());
  const passwordOf = (role: string): string => deriveSecret(secret, `database-role:${role}`);
  const ownerUrl = `postgres://${server.superuser}:${server.password}@${server.host}:${server.port}/postgres`;
  await migrate({ ownerUrl, passwordOf });
  const db = createDb({
    address: { host: server.host, port: server.port, database: "postgres" },
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
  const running = new Set<RoleProcess>();

  return {
    db,
    ownerUrl,
    simulator,
    workspaceId,
    userId,
    identity,
    shared,
    /** Starts a process of these roles and resolves when it says that it is ready. */
    async start(roles: readonly Role[], own: Env = {}): Promise<RoleProcess> {
      const provider: Env = { SIMULATOR_URL: simulatorUrl };
      const started = await startProcess(roles, { ...shared, ...provider, ...own });
      running.add(started);
      started.process.once("close", () => running.delete(started));
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
      await Promise.all([...running].map((process) => process.kill()));
      await simulator.close();
      await db.close();
      await server.stop();
      for (const folder of [dataDir, databaseDir]) await removeDataDir(folder);
    },
  };
}

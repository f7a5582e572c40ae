import { createApi } from "./api.ts";
import { createRequestLeases } from "./ledger/request-leases.ts";
import type { Metrics } from "./operator/metrics.ts";
import { every } from "./platform/every.ts";
import { newId } from "./platform/ids.ts";
import { orPortBusy, type RoleParts } from "./role-parts.ts";
import { createSockets } from "./sockets.ts";
import { createEventBell } from "./tasks/event-bell.ts";
import { openWebFolder } from "./web-folder.ts";

export type ApiRole = {
  /** Origin that people reach the page by. */
  url: string;
  /** Origin of this process itself. */
  listening: string;
  /** Lets requests that are open end for `drainMs`, and sends sockets away, which connect again elsewhere. */
  close(options: { drainMs: number }): Promise<void>;
};

/** How often what was leased for a minute and not used in it is given back. */
const SETTLE_REQUESTS_MS = 2_000;
const LOOPBACK_NAMES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1"]);

/** The API requests that this process has leased; given back when it ends. */
function openRequestLeases({ failures, clock, installation: { db } }: RoleParts) {
  const leases = createRequestLeases({ db, clock, nodeId: newId("wrk") });
  const settling = every(SETTLE_REQUESTS_MS, {
    name: "settle_requests",
    failures,
    run: () => leases.settle(),
  });
  settling.start();
  return {
    leases,
    async close() {
      await settling.close();
      await leases.close();
    },
  };
}

/** Where pages may come from; on this machine by either name of it. */
function originsOf(url: string, ownPort: string): string[] {
  const { origin, hostname, port } = new URL(url);
  const ports = LOOPBACK_NAMES.has(hostname) ? [ownPort, port] : [ownPort];
  const local = ports.flatMap((p) => [`http://localhost:${p}`, `http://127.0.0.1:${p}`]);
  return [...new Set([origin, ...local])];
}

/** The API, the page and the sockets of this process, listening. `gatewayUrl`: where programs reach a gateway. */
export async function startApiRole(
  parts: RoleParts,
  { gatewayUrl, metrics }: { gatewayUrl: string; metrics: Metrics },
): Promise<ApiRole> {
  const { config, log, installation, provider, identity, requestLimits, notices } = parts;
  const { db, dataDir } = installation;
  const local = createEventBell();
  notices.on("events", (taskId) => {
    if (taskId !== undefined) local.ring(taskId);
  });
  const eventBell = { ...local, ring: (taskId: string) => notices.ring("events", taskId) };
  const requests = openRequestLeases(parts);
  const app = await createApi({
    db,
    config,
    log,
    clock: parts.clock,
    files: parts.files,
    identity,
    requestLimits,
    requestLeases: requests.leases,
    bell: parts.wakeUp.bell,
    eventBell,
    model: { simulated: provider.simulated, baseUrl: provider.baseUrl },
    gateway: { baseUrl: config.GATEWAY_PUBLIC_URL ?? gatewayUrl },
    web: { folder: await openWebFolder(dataDir) },
    metrics,
    health: parts.health,
  });
  const listening = await orPortBusy({ port: config.PORT, variable: "PORT" }, () =>
    app.listen({ port: config.PORT, host: config.HOST }),
  ).catch(async (error: unknown) => {
    await app.close();
    await requests.close();
    throw error;
  });
  const url = config.PUBLIC_URL ?? new URL(listening).origin;
  const sockets = createSockets({
    server: app.server,
    clock: parts.clock,
    db,
    identity,
    // What it reads from the table concerns this process only.
    eventBell: local,
    requestLimits,
    log,
    failures: parts.failures,
    origins: originsOf(url, new URL(listening).port),
  });
  notices.on("events", () => sockets.ring());
  await sockets.start();
  return {
    url,
    listening: new URL(listening).origin,
    async close({ drainMs }) {
      const cut = setTimeout(() => app.server.closeAllConnections(), drainMs);
      // At once: each waits for all connections of the server, and only the other one ends its part of them.
      await Promise.all([app.close(), sockets.close()]);
      clearTimeout(cut);
      await requests.close();
    },
  };
}

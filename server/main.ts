import { setTimeout as delay } from "node:timers/promises";
import { createIdentity } from "./identity/identity.ts";
import { openInstallation } from "./installation.ts";
import { createLedger } from "./ledger/ledger.ts";
import { withRefusedDemand } from "./ledger/refused-demand.ts";
import { welcomeOwner } from "./local-access.ts";
import type { ReadyProcess } from "./launcher-messages.ts";
import { openModelProvider, SIMULATED } from "./model-provider.ts";
import { createMetrics, type Metrics } from "./operator/metrics.ts";
import { systemClock } from "./platform/clock.ts";
import { openDatabaseClock } from "./platform/database-clock.ts";
import { closeAll } from "./platform/close-all.ts";
import type { Config } from "./platform/config.ts";
import { openFileStore } from "./platform/file-store/open-file-store.ts";
import { createHealth } from "./platform/health.ts";
import { newId } from "./platform/ids.ts";
import { createJobFailures } from "./platform/job-failures.ts";
import type { Logger } from "./platform/log.ts";
import { createNotices } from "./platform/notices.ts";
import { createRequestLimits } from "./platform/request-limits.ts";
import type { RoleParts } from "./role-parts.ts";
import type { WorkerRole } from "./role-worker.ts";
import { ensureWorkspace } from "./sign-in.ts";
import { createWakeUp, openTransport } from "./wake-up.ts";
import { allRoles, isPart, requireRoleSettings, type Roles } from "./roles.ts";

export type Guildhall = {
  reached: ReadyProcess;
  /** Not ready any more, claims nothing more; ends what is open within `DRAIN_MS`, hands the rest over, and closes. */
  close(): Promise<void>;
};

type StartOptions = { config: Config; roles?: Roles; log: Logger; print(line: string): void };

const DRAIN_NOTICE_MS = 2_000;

/** What was opened, to be closed in the opposite order, also when the start fails half way. */
function createClosers() {
  const closers: (() => Promise<unknown>)[] = [];
  return {
    add: (close: () => Promise<unknown>) => closers.push(close),
    async closeAll() {
      await closeAll(closers.splice(0).toReversed());
    },
  };
}

type Closers = ReturnType<typeof createClosers>;

/** Opens what the roles stand on. */
async function openParts(options: StartOptions, closers: Closers): Promise<RoleParts> {
  const { config, log, print, roles = allRoles } = options;
  const installation = await openInstallation(config, log, { isPart: isPart(roles) });
  closers.add(() => installation.close());
  const { dataDir, db, rootSecret, database, migrationsApplied } = installation;
  print(`▸ database   ${database}, ${migrationsApplied} migrations applied, data in ${dataDir}`);
  const provider = await openModelProvider(config, { roles, rootSecret });
  closers.add(() => provider.close());
  if (roles.has("gateway"))
    print(
      provider.simulated
        ? `▸ model      ${SIMULATED}`
        : `▸ model      ${new URL(provider.baseUrl).origin}`,
    );
  const notices = createNotices({ url: installation.listenUrl, log });
  closers.add(() => notices.close());
  await notices.start();
  const transport = await openTransport({ config, listenUrl: installation.listenUrl, db, log });
  const wakeUp = createWakeUp({
    transport,
    db,
    log,
    onLimits: () => notices.ring("limits"),
    onEnded: (taskId) => notices.ring("events", taskId),
  });
  closers.add(() => wakeUp.close());
  const { files, description } = await openFileStore({ config, dataDir, db, log });
  if (config.S3_BUCKET !== undefined) print(`▸ files      ${description}`);
  const processId = newId("wrk");
  const failures = createJobFailures(log);
  const clock = await openDatabaseClock({ db, failures });
  closers.add(() => clock.close());
  return {
    config,
    log,
    failures,
    roles,
    installation,
    provider,
    notices,
    wakeUp,
    files,
    processId,
    clock,
    identity: createIdentity({ db, clock, rootSecret, notices }),
    requestLimits: createRequestLimits(config),
    ledger: withRefusedDemand(createLedger({ db, processId }), { db, log }),
    health: createHealth(db),
  };
}

async function openGateway(parts: RoleParts) {
  const { startGatewayRole } = await import("./role-gateway.ts");
  return startGatewayRole(parts);
}

async function openWorker(parts: RoleParts, gatewayUrl: string) {
  const { createWorkerRole } = await import("./role-worker.ts");
  return createWorkerRole(parts, gatewayUrl);
}

async function openScheduler(parts: RoleParts) {
  const { createSchedulerRole } = await import("./role-scheduler.ts");
  return createSchedulerRole(parts);
}

async function openApi(parts: RoleParts, reach: { gatewayUrl: string; metrics: Metrics }) {
  const { startApiRole } = await import("./role-api.ts");
  const local = await ensureWorkspace(parts.config, parts.installation.db);
  return { local, ...(await startApiRole(parts, reach)) };
}

async function openStatus(
  parts: RoleParts,
  told: { metrics: Metrics; worker: WorkerRole | undefined },
) {
  const { startStatus } = await import("./role-status.ts");
  return startStatus(parts, told);
}

/** The roles of this process, each as far as it has it; what it has not is not even loaded. */
async function openRoles(parts: RoleParts, closers: Closers) {
  const { config, roles, log, installation } = parts;
  const gateway = roles.has("gateway") ? await openGateway(parts) : undefined;
  if (gateway) closers.add(() => gateway.close({ drainMs: 0 }));
  const gatewayUrl = config.GATEWAY_URL ?? gateway?.url ?? "";
  const worker = roles.has("worker") ? await openWorker(parts, gatewayUrl) : undefined;
  if (worker) closers.add(() => worker.close({ drainMs: 0 }));
  const scheduler = roles.has("scheduler") ? await openScheduler(parts) : undefined;
  if (scheduler) closers.add(() => scheduler.close());
  const metrics = createMetrics({
    gateway: gateway?.gateway,
    checker: scheduler?.checker,
    reconciled: scheduler?.reconciled,
    failures: parts.failures,
    queue: {
      transport: parts.wakeUp.transport,
      worker,
      runsPerWorker: config.WORKER_CONCURRENCY,
    },
    db: installation.db,
    clock: parts.clock,
    log,
  });
  const api = roles.has("api") ? await openApi(parts, { gatewayUrl, metrics }) : undefined;
  if (api) closers.add(() => api.close({ drainMs: 0 }));
  const status = api ? undefined : await openStatus(parts, { metrics, worker });
  if (status) closers.add(() => status.close());
  return { gateway, worker, scheduler, api, status };
}

type OpenRoles = Awaited<ReturnType<typeof openRoles>>;

/**
 * Ends the work of a process. What takes no requests stops at once; what does goes on until load balancers have had
 * the time to notice. The gateway outlives the workers of its process, which finish their steps through it.
 */
async function drain(parts: RoleParts, open: OpenRoles): Promise<void> {
  const { config, health, roles } = parts;
  const begunMs = systemClock.monotonicMs();
  const leftMs = (): number => Math.max(0, config.DRAIN_MS - (systemClock.monotonicMs() - begunMs));
  health.beginDrain();
  const noticeMs = config.DRAIN_NOTICE_MS ?? (isPart(roles) ? DRAIN_NOTICE_MS : 0);
  // Nobody sends requests to the others.
  const noticed = open.api || open.gateway ? delay(noticeMs) : Promise.resolve();
  const working = Promise.all([
    open.worker?.close({ drainMs: config.DRAIN_MS }),
    open.scheduler?.close(),
  ]);
  await closeAll([
    async () => {
      await noticed;
      await open.api?.close({ drainMs: leftMs() });
    },
    () => working,
    async () => open.gateway?.close({ drainMs: leftMs() }),
    async () => open.status?.close(),
  ]);
}

/**
 * Starts the roles of this process, by default all: database, gateway, worker, scheduler, API and page, and the
 * simulated model when no provider is configured. Throws `AppError` with what to do; what was opened by then is closed
 * again.
 */
export async function startGuildhall(options: StartOptions): Promise<Guildhall> {
  const { config, print, roles = allRoles } = options;
  requireRoleSettings(config, roles);
  const begunMs = systemClock.monotonicMs();
  const closers = createClosers();
  const roleClosers = createClosers();
  try {
    if (isPart(roles)) print(`▸ roles      ${[...roles].join(", ")}`);
    const parts = await openParts(options, closers);
    const open = await openRoles(parts, roleClosers);
    const { gateway, worker, scheduler, api, status } = open;
    if (gateway) print(`▸ gateway    ${gateway.url}`);
    const url = api?.url ?? status?.url ?? "";
    const signIn =
      !isPart(roles) && api ? await welcomeOwner({ ...parts, url, owner: api.local }) : undefined;
    worker?.start();
    scheduler?.start();
    const tookS = (systemClock.monotonicMs() - begunMs) / 1_000;
    print(`▸ ready      ${url} in ${tookS.toFixed(1)} s`);
    if (signIn !== undefined) print(signIn);
    let closing: Promise<void> | undefined;
    return {
      reached: {
        url: api?.listening ?? url,
        ...(gateway ? { gatewayUrl: gateway.url } : {}),
        processId: parts.processId,
      },
      close: () => (closing ??= closeAll([() => drain(parts, open), () => closers.closeAll()])),
    };
  } catch (error) {
    await closeAll([() => roleClosers.closeAll(), () => closers.closeAll()]);
    throw error;
  }
}

import { join } from "node:path";
import { buildWeb, webBuilds } from "@guildhall/web/build.ts";
import { seedAgents } from "./agents/agents.ts";
import { createApi } from "./api.ts";
import { createExecution } from "./execution.ts";
import { createFrozenModels } from "./gateway/budget/frozen-models.ts";
import { createGateway } from "./gateway/gateway.ts";
import { createIdentity, type Identity } from "./identity/identity.ts";
import { keyCheckOf } from "./gateway/key-check.ts";
import { ensureLocalWorkspace } from "./identity/local-workspace.ts";
import { type Installation, openInstallation } from "./installation.ts";
import { createLedger } from "./ledger/ledger.ts";
import { withRefusedDemand } from "./ledger/refused-demand.ts";
import { createRequestLeases } from "./ledger/request-leases.ts";
import { recordRefusal } from "./ledger/refusals.ts";
import { writeLocalCredential } from "./local-access.ts";
import { localPlan } from "./local-plan.ts";
import { type ModelProvider, openModelProvider } from "./model-provider.ts";
import { systemClock } from "./platform/clock.ts";
import { closeAll } from "./platform/close-all.ts";
import type { Config } from "./platform/config.ts";
import { AppError } from "./platform/errors.ts";
import { every } from "./platform/every.ts";
import type { FileStore } from "./platform/file-store/file-store.ts";
import { openFileStore } from "./platform/file-store/open-file-store.ts";
import { newId } from "./platform/ids.ts";
import type { Logger } from "./platform/log.ts";
import { createRequestLimits, type RequestLimits } from "./platform/request-limits.ts";
import { deriveSecret } from "./platform/secret.ts";
import { hasCode } from "./platform/system-error.ts";
import { createSockets } from "./sockets.ts";
import { createUpkeep, succeedGateway, type Upkeep } from "./upkeep.ts";
import { createEventBell } from "./tasks/event-bell.ts";
import { createWakeUp, openTransport, type WakeUp } from "./wake-up.ts";

export type Guildhall = {
  url: string;
  gatewayUrl: string;
  signInLink: string;
  close(): Promise<void>;
};

type StartOptions = { config: Config; log: Logger; print(line: string): void };

const DRAIN_MS = 25_000;
/** How often what was leased for a minute and not used in it is given back. */
const SETTLE_REQUESTS_MS = 2_000;

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

async function orPortBusy<T>(port: number, variable: string, listen: () => Promise<T>): Promise<T> {
  try {
    return await listen();
  } catch (error) {
    if (!hasCode(error, "EADDRINUSE")) throw error;
    throw new AppError({
      code: "port_busy",
      status: 500,
      publicMessage: `Port ${port} is taken by another program.`,
      hint: `Stop that program, or choose another port: ${variable}=${port + 10} npm start`,
      cause: error,
    });
  }
}

async function startGateway(
  { config, log }: StartOptions,
  parts: {
    installation: Installation;
    provider: ModelProvider;
    identity: Identity;
    requestLimits: RequestLimits;
    closers: Closers;
  },
) {
  const { installation, provider, identity, requestLimits, closers } = parts;
  const processId = newId("wrk");
  const { db } = installation;
  const ledger = withRefusedDemand(createLedger({ db, processId }), { db, log });
  const gateway = createGateway({
    ledger,
    frozenModels: createFrozenModels(installation.db),
    upstream: {
      baseUrl: provider.baseUrl,
      ...(provider.apiKey ? { apiKey: provider.apiKey } : {}),
    },
    journalKey: deriveSecret(installation.rootSecret, "journal"),
    ...(config.GATEWAY_CACHE_SALT === "workspace"
      ? { cacheSaltKey: deriveSecret(installation.rootSecret, "cache salt") }
      : {}),
    exactHolds: config.GATEWAY_EXACT_HOLDS === "1",
    log,
    processId,
    checkKey: keyCheckOf(identity.apiKeys),
    requestLimits,
    recordRefusal: (call) => recordRefusal(installation.db, call),
    limits: {
      callTimeoutMs: config.MODEL_CALL_TIMEOUT_MS,
      idleTimeoutMs: config.MODEL_IDLE_TIMEOUT_MS,
      budgetWaitMs: config.BUDGET_WAIT_MS,
    },
  });
  await succeedGateway({ dataDir: installation.dataDir, ledger, processId, log });
  closers.add(async () => {
    await gateway.close({ drainMs: DRAIN_MS });
    // Its connections are closed: it sends nothing any more.
    await ledger
      .processEnded(processId)
      .catch((error: unknown) => log.warn({ err: error }, "the gateway's end was not recorded"));
  });
  const { url } = await orPortBusy(config.GATEWAY_PORT, "GATEWAY_PORT", () =>
    gateway.listen({ port: config.GATEWAY_PORT, host: config.HOST }),
  );
  return { ledger, gateway, gatewayUrl: url };
}

async function openFiles(
  { config, log, print }: StartOptions,
  { dataDir, db }: Installation,
): Promise<FileStore> {
  const { files, description } = await openFileStore({ config, dataDir, db, log });
  if (config.S3_BUCKET !== undefined) print(`▸ files      ${description}`);
  return files;
}

async function ensureWorkspace({ config }: StartOptions, installation: Installation) {
  return ensureLocalWorkspace({
    db: installation.db,
    openPlan: localPlan(config.LOCAL_BUDGET_NANO_USD),
    seedAgents: (tx, workspaceId) => seedAgents(tx, { workspaceId, model: config.DEFAULT_MODEL }),
  });
}

/** The folder of the built page: in the checkout, for all its installations, or beside the data when that is read-only. */
async function openPage(dataDir: string): Promise<string> {
  try {
    const { folder } = await buildWeb({ places: [webBuilds, join(dataDir, "web")] });
    return folder;
  } catch (error) {
    throw new AppError({
      code: "page_not_built",
      status: 500,
      publicMessage: "The page could not be built; what is wrong with its sources is said above.",
      hint: "If you did not change them, install again: npm ci",
      cause: error,
    });
  }
}

/** The API requests that this process has leased; given back when it ends. */
function openRequestLeases({ log }: StartOptions, { db }: Installation, closers: Closers) {
  const leases = createRequestLeases({ db, clock: systemClock, nodeId: newId("wrk") });
  const settling = every(SETTLE_REQUESTS_MS, {
    name: "settle_requests",
    log,
    run: () => leases.settle(),
  });
  settling.start();
  closers.add(async () => {
    await settling.close();
    await leases.close();
  });
  return leases;
}

async function startApi(
  options: StartOptions,
  parts: {
    installation: Installation;
    provider: ModelProvider;
    identity: Identity;
    wakeUp: WakeUp;
    files: FileStore;
    requestLimits: RequestLimits;
    gatewayUrl: string;
    upkeep: Upkeep;
    closers: Closers;
  },
): Promise<string> {
  const { config, log } = options;
  const { installation, provider, identity, wakeUp, files, requestLimits, upkeep, closers } = parts;
  const { db } = installation;
  const eventBell = createEventBell();
  const folder = await openPage(installation.dataDir);
  const app = await createApi({
    db,
    config,
    log,
    clock: systemClock,
    files,
    identity,
    requestLimits,
    requestLeases: openRequestLeases(options, installation, closers),
    bell: wakeUp.bell,
    eventBell,
    model: { simulated: provider.simulated, baseUrl: provider.baseUrl },
    gateway: { baseUrl: config.GATEWAY_PUBLIC_URL ?? parts.gatewayUrl },
    web: { folder },
    metrics: upkeep.metrics,
  });
  closers.add(() => app.close());
  const listening = await orPortBusy(config.PORT, "PORT", () =>
    app.listen({ port: config.PORT, host: config.HOST }),
  );
  const url = config.PUBLIC_URL ?? new URL(listening).origin;
  const { port } = new URL(listening);
  const sockets = createSockets({
    server: app.server,
    db,
    identity,
    eventBell,
    requestLimits,
    log,
    origins: [url, `http://localhost:${port}`, `http://127.0.0.1:${port}`],
  });
  closers.add(() => sockets.close());
  await sockets.start();
  return url;
}

/**
 * Starts every role in this process: database, gateway, worker, scheduler, API and page, and the simulated model when
 * no provider is configured. Throws `AppError` with what to do; what was opened by then is closed again.
 */
export async function startGuildhall(options: StartOptions): Promise<Guildhall> {
  const { config, log, print } = options;
  const begunMs = systemClock.monotonicMs();
  const closers = createClosers();
  try {
    const installation = await openInstallation(config, log);
    closers.add(() => installation.close());
    const { dataDir, db, rootSecret } = installation;
    print(
      `▸ database   ${installation.database}, ${installation.migrationsApplied} migrations applied, data in ${dataDir}`,
    );
    const transport = await openTransport({
      config,
      listenUrl: installation.platformUrl,
      db,
      log,
    });
    const wakeUp = createWakeUp({ transport, db, log });
    closers.add(() => wakeUp.close());
    const provider = await openModelProvider(config);
    closers.add(() => provider.close());
    print(
      provider.simulated
        ? "▸ model      SIMULATED: no ANTHROPIC_API_KEY or MODEL_BASE_URL is set; its dollars are not real"
        : `▸ model      ${new URL(provider.baseUrl).origin}`,
    );
    const requestLimits = createRequestLimits(config);
    const identity = createIdentity({ db, clock: systemClock, rootSecret });
    const { ledger, gateway, gatewayUrl } = await startGateway(options, {
      installation,
      provider,
      identity,
      requestLimits,
      closers,
    });
    print(`▸ gateway    ${gatewayUrl}`);
    const files = await openFiles(options, installation);
    const execution = createExecution({
      config,
      wakeUp,
      db,
      ledger,
      files,
      dataDir,
      gatewayUrl,
      clock: systemClock,
      log,
    });
    closers.add(() => execution.close({ drainMs: DRAIN_MS }));
    const upkeep = createUpkeep({ config, db, ledger, gateway, provider, log });
    closers.add(() => upkeep.close());
    const { workspaceId, userId } = await ensureWorkspace(options, installation);
    const url = await startApi(options, {
      installation,
      provider,
      identity,
      wakeUp,
      files,
      requestLimits,
      gatewayUrl,
      upkeep,
      closers,
    });
    await installation.setAddress(url);
    await writeLocalCredential({ dataDir, url, identity, workspaceId, userId });
    execution.start();
    upkeep.start();
    const link = await identity.createSignInLink(userId);
    const signInLink = `${url}/#token=${link.token}`;
    const tookS = (systemClock.monotonicMs() - begunMs) / 1_000;
    print(`▸ ready      ${url} in ${tookS.toFixed(1)} s`);
    print(`▸ sign in    ${signInLink}  (works once, for ${link.validForMs / 60_000} minutes)`);
    return { url, gatewayUrl, signInLink, close: () => closers.closeAll() };
  } catch (error) {
    await closers.closeAll();
    throw error;
  }
}

import { join } from "node:path";
import { createIdentity } from "./identity/identity.ts";
import { type Installation, openInstallation } from "./installation.ts";
import { createLedger, type Ledger } from "./ledger/ledger.ts";
import { type Front, LOCAL_HOST, openFront } from "./cluster-front.ts";
import { createSlot, type Slot, type SlotOptions } from "./cluster-process.ts";
import { welcomeOwner } from "./local-access.ts";
import { bringsOwnModel, SIMULATED, startSimulatedModel } from "./model-provider.ts";
import type { Env } from "./command-frame.ts";
import { systemClock } from "./platform/clock.ts";
import { closeAll } from "./platform/close-all.ts";
import type { Config } from "./platform/config.ts";
import { AppError } from "./platform/errors.ts";
import { newId } from "./platform/ids.ts";
import type { Logger } from "./platform/log.ts";
import { type Role, roles } from "./roles.ts";
import { ensureWorkspace } from "./sign-in.ts";
import { openWebFolder } from "./web-folder.ts";

export type Sizes = Readonly<Record<Role, number>>;

export type Cluster = {
  /** Replaces every process by a new one, of each role one at a time. */
  restart(): Promise<void>;
  /** Drains every process, gateways last, and stops the database. */
  close(): Promise<void>;
};

type ClusterOptions = {
  config: Config;
  env: Env;
  sizes: Sizes;
  log: Logger;
  print(line: string): void;
};

export const defaultSizes: Sizes = { api: 2, worker: 2, gateway: 2, scheduler: 1 };
const MOST_PROCESSES = 16;
/** Each process may hold some 30 connections. */
const MAX_CONNECTIONS = 600;
/** After its drain: time for the last writes, before a process is killed. */
const LAST_WRITES_MS = 10_000;
const DRAIN_NOTICE_MS = 1_000;

/** Reads how many processes of each role are wanted. Throws `flag_invalid`. */
export function readSizes(flags: Readonly<Record<string, string>>): Sizes {
  const sizes = roles.map((role): [Role, number] => {
    const text = flags[role] ?? String(defaultSizes[role]);
    const size = Number(text);
    if (!Number.isInteger(size) || size < 1 || size > MOST_PROCESSES)
      throw new AppError({
        code: "flag_invalid",
        status: 500,
        publicMessage: `--${role} ${text} is not possible.`,
        hint: `Give a whole number from 1 to ${MOST_PROCESSES}.`,
      });
    return [role, size];
  });
  return Object.fromEntries(sizes) as Sizes;
}

/** What all processes get to know. */
function sharedEnvironment(
  { config, env }: Pick<ClusterOptions, "config" | "env">,
  parts: { installation: Installation; front: Front; simulatorUrl: string | undefined },
): NodeJS.ProcessEnv {
  const { installation, front, simulatorUrl } = parts;
  const proxies = [config.TRUSTED_PROXIES, LOCAL_HOST, "::1"].filter((part) => part !== undefined);
  return {
    ...env,
    GUILDHALL_DATA_DIR: installation.dataDir,
    GUILDHALL_SECRET: installation.rootSecret.reveal(),
    DATABASE_URL: config.DATABASE_URL ?? installation.ownerUrl,
    HOST: LOCAL_HOST,
    PORT: "0",
    GATEWAY_PORT: "0",
    PUBLIC_URL: config.PUBLIC_URL ?? front.url,
    GATEWAY_URL: front.gatewayUrl,
    GATEWAY_PUBLIC_URL: config.GATEWAY_PUBLIC_URL ?? front.gatewayUrl,
    TRUSTED_PROXIES: proxies.join(","),
    DRAIN_NOTICE_MS: String(config.DRAIN_NOTICE_MS ?? Math.min(DRAIN_NOTICE_MS, config.DRAIN_MS)),
    // A third less work for each start after the first ones.
    NODE_COMPILE_CACHE: env["NODE_COMPILE_CACHE"] ?? join(installation.dataDir, "compile-cache"),
    ...(simulatorUrl === undefined ? {} : { SIMULATOR_URL: simulatorUrl }),
  };
}

/** What the processes of a role must not know is left out: the provider's key is for gateways only. */
function environmentOf(role: Role, shared: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { ANTHROPIC_API_KEY: key, PUBLIC_URL: publicUrl, ...rest } = shared;
  return {
    ...rest,
    ...(role === "gateway" && key !== undefined ? { ANTHROPIC_API_KEY: key } : {}),
    // Only the API is behind that address; the others are asked directly.
    ...(role === "api" ? { PUBLIC_URL: publicUrl } : {}),
  };
}

function createSlots(
  { config, sizes, log }: ClusterOptions,
  parts: { front: Front; shared: NodeJS.ProcessEnv; ledger: Pick<Ledger, "processEnded"> },
): Map<Role, Slot[]> {
  const { front, shared, ledger } = parts;
  const reach: Partial<Record<Role, Pick<SlotOptions, "onReady" | "onDraining">>> = {
    api: {
      onReady: ({ url }) => front.pages.add(url),
      onDraining: ({ url }) => front.pages.remove(url),
    },
    gateway: {
      onReady: ({ gatewayUrl = "" }) => front.calls.add(gatewayUrl),
      onDraining: ({ gatewayUrl = "" }) => front.calls.remove(gatewayUrl),
    },
  };
  return new Map(
    roles.map((role) => [
      role,
      Array.from({ length: sizes[role] }, (_, n) =>
        createSlot({
          onReady: () => {},
          onDraining: () => {},
          ...reach[role],
          role,
          name: `${role}-${n + 1}`,
          env: environmentOf(role, shared),
          // It can send nothing any more, so what it left open may be reconciled.
          onEnded: ({ processId }) =>
            void (role === "gateway" ? ledger.processEnded(processId) : Promise.resolve()).catch(
              (error: unknown) => log.warn({ err: error }, "a gateway's end was not recorded"),
            ),
          stopWithinMs: config.DRAIN_MS + LAST_WRITES_MS,
          log,
        }),
      ),
    ]),
  );
}

/** Workers finish their steps through the gateways, so these go last. */
async function stopAll(slots: ReadonlyMap<Role, readonly Slot[]>): Promise<void> {
  const stop = (role: Role) => (slots.get(role) ?? []).map((slot) => slot.stop());
  await Promise.all([...stop("api"), ...stop("worker"), ...stop("scheduler")]);
  await Promise.all(stop("gateway"));
}

const countOf = (sizes: Sizes): string =>
  roles.map((role) => `${sizes[role]} ${role}${sizes[role] === 1 ? "" : "s"}`).join(", ");

/** What all processes work on: the database, and the simulated model when no provider is configured. */
async function openBase(
  { config, log, print }: ClusterOptions,
  closers: (() => Promise<unknown>)[],
): Promise<{ installation: Installation; simulatorUrl: string | undefined }> {
  const installation = await openInstallation(config, log, { maxConnections: MAX_CONNECTIONS });
  closers.push(() => installation.close());
  const { dataDir, rootSecret, database, migrationsApplied } = installation;
  print(`▸ database   ${database}, ${migrationsApplied} migrations applied, data in ${dataDir}`);
  const simulated = bringsOwnModel(config)
    ? await startSimulatedModel(config, rootSecret)
    : undefined;
  if (simulated) closers.push(() => simulated.close());
  print(`▸ model      ${simulated ? SIMULATED : "as configured"}`);
  return { installation, simulatorUrl: simulated?.baseUrl };
}

/**
 * Starts every role in processes of its own on this machine, over one database, behind one address for the page and one
 * for the gateway. A process that ends by itself is started again. Throws `AppError` with what to do.
 */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { config, sizes, print } = options;
  const begunMs = systemClock.monotonicMs();
  const closers: (() => Promise<unknown>)[] = [];
  const close = (): Promise<void> => closeAll(closers.splice(0).toReversed());
  try {
    const { installation, simulatorUrl } = await openBase(options, closers);
    const { db, dataDir, rootSecret } = installation;
    // Once, before two processes would do it at the same time.
    await openWebFolder(dataDir);
    const owner = await ensureWorkspace(config, db);
    const front = await openFront(config);
    closers.push(() => front.close());
    const shared = sharedEnvironment(options, { installation, front, simulatorUrl });
    const ledger = createLedger({ db, processId: newId("wrk") });
    const slots = createSlots(options, { front, shared, ledger });
    const all = [...slots.values()].flat();
    const killAll = (): void => {
      for (const slot of all) slot.kill();
    };
    process.once("exit", killAll);
    closers.push(async () => {
      await stopAll(slots);
      process.off("exit", killAll);
    });
    await Promise.all(all.map((slot) => slot.start()));
    print(`▸ processes  ${countOf(sizes)}`);
    print(`▸ gateway    ${front.gatewayUrl}`);
    const url = config.PUBLIC_URL ?? front.url;
    const identity = createIdentity({ db, clock: systemClock, rootSecret });
    const signIn = await welcomeOwner({ installation, identity, url, owner });
    const tookS = (systemClock.monotonicMs() - begunMs) / 1_000;
    print(`▸ ready      ${url} in ${tookS.toFixed(1)} s`);
    print(signIn);
    return {
      close,
      async restart() {
        const waves = Math.max(...roles.map((role) => sizes[role]));
        for (let n = 0; n < waves; n++)
          await Promise.all([...slots.values()].flatMap((ofRole) => ofRole[n]?.replace() ?? []));
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

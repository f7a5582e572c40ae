import { setTimeout as delay } from "node:timers/promises";
import type { openInstallationOfRoles, RoleProcess } from "../../server/test/role-processes.ts";
import type { Role } from "../../server/roles.ts";

type Installation = Awaited<ReturnType<typeof openInstallationOfRoles>>;
type Env = Readonly<Record<string, string>>;

/** The place of one process: what ends there, for whatever reason, is started again. */
export type Slot = {
  role: Role;
  /** The process that runs, or the last one that did. */
  process(): RoleProcess;
  /** For the next start only. */
  nextEnv(env: Env): void;
  /** Starts nothing more. */
  close(): void;
};

const RETRY_MS = 300;

export async function openSlot(
  installation: Installation,
  options: { role: Role; env(): Env; onStart?(started: RoleProcess): void },
): Promise<Slot> {
  let closed = false;
  let once: Env = {};
  const start = async (): Promise<RoleProcess> => {
    const own = once;
    once = {};
    const started = await installation.start([options.role], { ...options.env(), ...own });
    started.process.once("close", () => void startAgain());
    return started;
  };

  /** A start fails while the database is away. */
  async function startAgain(): Promise<void> {
    if (closed) return;
    try {
      current = await start();
      options.onStart?.(current);
    } catch {
      await delay(RETRY_MS);
      await startAgain();
    }
  }

  let current = await start();
  options.onStart?.(current);
  return {
    role: options.role,
    process: () => current,
    nextEnv: (env) => void (once = env),
    close: () => void (closed = true),
  };
}

/** Two of each role; workers are led to the gateways in turn. */
export async function openSlots(installation: Installation): Promise<readonly Slot[]> {
  const workers: Slot[] = [];
  const gateways = [
    await openSlot(installation, { role: "gateway", env: () => ({}), onStart: leadAll }),
    await openSlot(installation, { role: "gateway", env: () => ({}), onStart: leadAll }),
  ];

  /** A gateway that starts again has another port: who was led to the old one is led to it. */
  function leadAll(): void {
    for (const [index, worker] of workers.entries()) lead(worker.process(), index);
  }
  function lead(worker: RoleProcess, index: number): void {
    const gateway = gateways[index % gateways.length];
    if (gateway === undefined) return;
    const { hostname, port } = new URL(gateway.process().gatewayUrl);
    worker.links.gateway?.aimAt({ host: hostname, port: Number(port) });
  }
  const gatewayUrl = (index: number): Env => ({
    GATEWAY_URL: gateways[index % gateways.length]?.process().gatewayUrl ?? "",
  });
  for (const index of [0, 1])
    workers.push(
      await openSlot(installation, {
        role: "worker",
        env: () => gatewayUrl(index),
        onStart: (started) => lead(started, index),
      }),
    );
  const apis = [
    await openSlot(installation, { role: "api", env: () => gatewayUrl(0) }),
    await openSlot(installation, { role: "api", env: () => gatewayUrl(1) }),
  ];
  const schedulers = [
    await openSlot(installation, { role: "scheduler", env: () => ({}) }),
    await openSlot(installation, { role: "scheduler", env: () => ({}) }),
  ];
  return [...gateways, ...workers, ...apis, ...schedulers];
}

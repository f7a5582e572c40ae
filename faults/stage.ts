import { createClient, type Client } from "@guildhall/sdk/client/client.ts";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";
import { expect, vi } from "vitest";
import { openInstallationOfRoles, type RoleProcess } from "../server/test/role-processes.ts";
import { PATIENCE_MS, TIMES } from "./times.ts";

type Installation = Awaited<ReturnType<typeof openInstallationOfRoles>>;

/** What is waited for comes in seconds; so long only on a machine that has much else to do. */
export const until = (look: () => boolean | Promise<boolean>): Promise<unknown> =>
  vi.waitUntil(look, { timeout: PATIENCE_MS, interval: 50 });

/** An installation of separate processes, to which things are done. */
export type Stage = Installation & {
  gateway: RoleProcess;
  api: RoleProcess;
  client: Client;
  /** Starts one more worker; by default at `gateway`. */
  startWorker(env?: Readonly<Record<string, string>>): Promise<RoleProcess>;
  eventsOf(taskId: string): Promise<Event[]>;
  has(taskId: string, type: Event["type"]): Promise<boolean>;
  /** Waits for the end. Fails when it is another one. */
  succeeds(taskId: string): Promise<TaskDetail>;
  /** Waits until a model call is at the provider. */
  callIsOpen(): Promise<unknown>;
  /** All laws hold, once what the fault left open is resolved. */
  lawsHold(): Promise<void>;
};

/** Opens it with one gateway, API and scheduler, and no worker. `env` counts for all processes. */
export async function openStage(
  env: Readonly<Record<string, string>> = {},
  places: { databaseFolder?: string } = {},
): Promise<Stage> {
  const installation = await openInstallationOfRoles({ ...TIMES, ...env }, places);
  try {
    return await openProcesses(installation);
  } catch (error) {
    await installation.close();
    throw error;
  }
}

async function openProcesses(installation: Installation): Promise<Stage> {
  const gateway = await installation.start(["gateway"]);
  const to = { GATEWAY_URL: gateway.gatewayUrl };
  const [api] = await Promise.all([
    installation.start(["api"], to),
    installation.start(["scheduler"]),
  ]);
  const client = createClient({ baseUrl: api.url, token: await installation.createKey() });

  async function eventsOf(taskId: string): Promise<Event[]> {
    return (await client.tasks.events(taskId, { after: 0 })).data;
  }
  return {
    ...installation,
    gateway,
    api,
    client,
    startWorker: (own = {}) => installation.start(["worker"], { ...to, ...own }),
    eventsOf,
    has: async (taskId, type) => (await eventsOf(taskId)).some((event) => event.type === type),
    async succeeds(taskId) {
      await until(async () => (await client.tasks.get(taskId)).ended_at !== null);
      const task = await client.tasks.get(taskId);
      expect(task).toMatchObject({ state: "succeeded", cause: null });
      return task;
    },
    // A hold stands before its call is sent.
    callIsOpen: () =>
      until(
        async () =>
          (await installation.openHolds()) > 0 &&
          installation.simulator.meter.report().calls.some((call) => call.finished_at === null),
      ),
    async lawsHold() {
      await until(async () => (await installation.openHolds()) === 0);
      await expect.poll(() => installation.brokenLaws(), { timeout: PATIENCE_MS }).toEqual([]);
    },
  };
}

/** How often each type of event stands in the stream. */
export const countOf = (events: readonly Event[], type: Event["type"]): number =>
  events.filter((event) => event.type === type).length;

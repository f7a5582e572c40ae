import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { createClient } from "@guildhall/sdk/client/client.ts";
import { type Task, taskSchema } from "@guildhall/sdk/contract/task.ts";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { readSizes } from "../server/cluster.ts";
import { makeDataDir, type Product, removeDataDir, startProduct } from "../server/test/product.ts";
import { type Role, roles } from "../server/roles.ts";

// Half a minute on a free machine; a start takes many times longer on one that runs a whole suite.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 300_000 });

const run = promisify(execFile);
const until = (look: () => boolean | Promise<boolean>) => vi.waitUntil(look, 240_000);

let dataDir: string;
let cluster: Product;

beforeAll(async () => {
  dataDir = await makeDataDir();
  cluster = await startProduct({
    dataDir,
    command: "cluster",
    env: {
      SIMULATOR_EVENT_DELAY_MS: "5",
      LEASE_MS: "4000",
      HEARTBEAT_MS: "500",
      LEASE_GRACE_MS: "200",
      POLL_MS: "300",
      DRAIN_MS: "10000",
      // Of the load of this test there is one address.
      RATE_LIMITS: "create_task=off, change=off, user=off, address=off",
    },
  });
});

afterAll(async () => {
  await cluster.stop();
  await removeDataDir(dataDir);
});

/** The pids of the cluster's processes of a role. */
async function pidsOf(role: Role): Promise<number[]> {
  const { stdout } = await run("ps", ["-A", "-o", "pid=,ppid=,args="]);
  return stdout
    .split("\n")
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
    .filter((match) => Number(match?.[2]) === cluster.process.pid)
    .filter((match) => match?.[3]?.endsWith(`start --role ${role}`))
    .map((match) => Number(match?.[1]));
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Requests without a pause, some with fresh connections and some with kept ones, until they are told to end. */
async function startLoad() {
  const failures: string[] = [];
  const tasks: Task[] = [];
  const ended = new AbortController();
  const client = createClient({ baseUrl: cluster.url, token: cluster.apiKey });
  const cancelled = await client.tasks.create({ agent: "gray", prompt: "Look around" });
  await client.tasks.cancel(cancelled.id);

  async function ask(path: string, init: RequestInit = {}): Promise<Response | undefined> {
    try {
      const response = await cluster.api(path, init);
      if (!response.ok) failures.push(`${path}: ${response.status} ${await response.text()}`);
      return response.ok ? response : undefined;
    } catch (error) {
      failures.push(`${path}: ${String((error as Error).cause ?? error)}`);
      return undefined;
    }
  }

  async function create(): Promise<void> {
    const response = await ask("/v1/tasks", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ agent: "gray", prompt: "Look around" }),
    });
    if (response) tasks.push(taskSchema.parse(await response.json()));
  }

  async function read(): Promise<void> {
    for (const headers of [{}, { connection: "close" }])
      await (await ask("/v1/tasks?limit=5", { headers }))?.text();
  }

  /** A write that costs little and that nobody may repeat by himself: one that is cut off is seen. */
  async function write(): Promise<void> {
    await (await ask(`/v1/tasks/${cancelled.id}/cancel`, { method: "POST" }))?.text();
  }

  async function wait(): Promise<void> {
    const task = tasks.at(-1);
    if (task) await (await ask(`/v1/tasks/${task.id}/events?after=0&wait_ms=2000`))?.text();
  }

  async function repeat(work: () => Promise<void>, pauseMs: number): Promise<void> {
    while (!ended.signal.aborted) {
      await work();
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
  const loops = [
    repeat(create, 500),
    repeat(read, 20),
    repeat(write, 2),
    repeat(write, 2),
    repeat(wait, 100),
  ];
  return {
    failures,
    tasks,
    async end() {
      ended.abort();
      await Promise.all(loops);
    },
  };
}

async function allSucceed(tasks: readonly Task[]): Promise<void> {
  const client = createClient({ baseUrl: cluster.url, token: cluster.apiKey });
  for (const { id } of tasks)
    await until(async () => {
      const { state } = await client.tasks.get(id);
      if (["failed", "cancelled", "paused"].includes(state)) throw new Error(`${id} is ${state}`);
      return state === "succeeded";
    });
}

test("F32 every process is replaced under load, and one more is ended from outside: no request fails and every task ends well", async () => {
  const before = (await Promise.all(roles.map(pidsOf))).flat();
  expect(before).toHaveLength(7);
  const load = await startLoad();
  await until(() => load.tasks.length >= 3);
  cluster.process.kill("SIGUSR2");
  await until(() => cluster.output().includes("▸ restarted"));
  expect(before.filter(isAlive)).toEqual([]);
  // Not by the launcher: it learns of it from the process, and fills its place.
  const [told = 0] = await pidsOf("api");
  process.kill(told, "SIGTERM");
  await until(async () => !isAlive(told) && (await pidsOf("api")).length === 2);
  await load.end();
  expect(load.failures).toEqual([]);
  expect(load.tasks.length).toBeGreaterThan(5);
  await allSucceed(load.tasks);
  expect((await cluster.cli("verify", "--quiet")).code).toBe(0);
});

test("F01 F03 a worker and a gateway that are killed are started again, their tasks are finished by others, and nothing is paid twice", async () => {
  const load = await startLoad();
  await until(() => load.tasks.length >= 3);
  const [worker = 0] = await pidsOf("worker");
  const [gateway = 0] = await pidsOf("gateway");
  process.kill(worker, "SIGKILL");
  process.kill(gateway, "SIGKILL");
  await until(async () => (await pidsOf("worker")).filter((pid) => pid !== worker).length === 2);
  await until(async () => (await pidsOf("gateway")).filter((pid) => pid !== gateway).length === 2);
  await load.end();
  expect(load.failures).toEqual([]);
  await allSucceed(load.tasks);
  // What the dead gateway had open stays reserved until that is known.
  await until(async () => (await cluster.cli("verify", "--quiet")).code === 0);
});

test("it ends with all that it started", async () => {
  const all = (await Promise.all(roles.map(pidsOf))).flat();
  expect(all).toHaveLength(7);
  expect(await cluster.stop()).toBe(0);
  expect(all.filter(isAlive)).toEqual([]);
});

test("a number of processes that is not possible is refused with the range", () => {
  expect(readSizes({ worker: "3" })).toEqual({ api: 2, worker: 3, gateway: 2, scheduler: 1 });
  for (const api of ["0", "17", "1.5", "many"])
    expect(() => readSizes({ api })).toThrow(/flag_invalid/);
});

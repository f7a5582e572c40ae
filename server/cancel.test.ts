import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "@guildhall/sdk/client/client.ts";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { CreateTask } from "@guildhall/sdk/contract/task.ts";
import { afterAll, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { spawnWorker } from "./test/mortal-worker.ts";
import { openInstallationOfRoles } from "./test/role-processes.ts";

// Each test waits on conditions; a start alone takes many seconds on a machine that runs a whole suite.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const PATIENCE = { timeout: 120_000 };

const NEVER_MS = 600_000;
/** Nothing looks for itself within a test: what happens, a bell has rung for. */
const NO_POLL = {
  POLL_MS: String(NEVER_MS),
  HEARTBEAT_MS: String(NEVER_MS),
  LEASE_MS: String(3 * NEVER_MS),
  RETRY_BACKOFF_MS: String(NEVER_MS),
  AGENT_TIME_SLICE_MS: String(NEVER_MS),
  // Calls of cancelled tasks stay open, so that one more is told from them.
  MODEL_IDLE_TIMEOUT_MS: String(NEVER_MS),
};

const installation = await openInstallationOfRoles(NO_POLL);
afterAll(() => installation.close());
const token = await installation.createKey();
const gateway = await installation.start(["gateway"]);
const to = { GATEWAY_URL: gateway.gatewayUrl };
const [first, second] = [
  await installation.start(["api"], to),
  await installation.start(["api"], to),
];
/** Tasks are given and cancelled at one process and watched at another. */
const { tasks, uploads } = createClient({ baseUrl: first.url, token });
const watching = createClient({ baseUrl: second.url, token }).tasks;

beforeEach(() => installation.setFaults([]));

/** A reader of the task's events at the second process; `all` resolves when the stream has told the last one. */
function watch(taskId: string) {
  const seen: Event[] = [];
  const all = (async () => {
    for await (const event of watching.stream(taskId)) seen.push(event);
    return seen.map((event) => event.type);
  })();
  return {
    all,
    /** Waits for an event of this type. */
    async sees<T extends Event["type"]>(type: T): Promise<Extract<Event, { type: T }>> {
      const find = () => seen.find((event) => event.type === type);
      await vi.waitUntil(() => find() !== undefined, PATIENCE);
      return find() as Extract<Event, { type: T }>;
    },
  };
}

/** One file for tasks to work on. */
async function uploadFile(): Promise<{ upload_id: string }> {
  const data = new Blob(["id,amount\n1,10\n2,-3\n"]);
  return { upload_id: (await uploads.create([{ path: "sales.csv", data }])).id };
}

async function give(task: Partial<CreateTask> = {}) {
  const { id } = await tasks.create({ agent: "gray", prompt: "Look around", ...task });
  return { id, events: watch(id) };
}

/** The process's worker, as its metrics tell of it. */
async function runningIn(process: { url: string }): Promise<number> {
  const metrics = await (await fetch(`${process.url}/metrics`)).text();
  return Number(/^guildhall_worker_running (\d+)$/m.exec(metrics)?.[1]);
}

/** A worker of its own for one test, which has nothing to do any more when `idle` resolves. */
async function startWorker() {
  const worker = await installation.start(["worker"], to);
  onTestFinished(() => worker.kill());
  return {
    busy: () => vi.waitUntil(async () => (await runningIn(worker)) === 1, PATIENCE),
    idle: (patience = PATIENCE) =>
      vi.waitUntil(async () => (await runningIn(worker)) === 0, patience),
  };
}

/** -> waits until one more model call is under way than now; calls of cancelled tasks are heard to their end, too. */
async function nextCall(): Promise<() => Promise<unknown>> {
  const before = await installation.openHolds();
  return () => vi.waitUntil(async () => (await installation.openHolds()) > before, PATIENCE);
}

const hangs = { kind: "stall", ms: 3_600_000 } as const;

test.each([
  ["before its first word", { ...hangs, at: "before_headers" as const }],
  ["in the middle", { ...hangs, before_event: 4 }],
])("a task that waits for the model's answer %s stops", async (_, fault) => {
  const worker = await startWorker();
  const called = await nextCall();
  await installation.setFaults([fault]);
  const { id, events } = await give();
  await called();
  await worker.busy();
  expect((await tasks.cancel(id)).state).toBe("cancelled");
  await worker.idle();
  expect((await events.all).at(-1)).toBe("task.cancelled");
});

test("a task that waits between two tries of a model call stops", async () => {
  const worker = await startWorker();
  const busy = { kind: "status", status: 529, retry_after_seconds: 60 } as const;
  await installation.setFaults([busy]);
  const { id, events } = await give();
  expect((await events.sees("model.failed")).data.retry_in_ms).toBe(60_000);
  await worker.busy();
  await tasks.cancel(id);
  // Well before the next try, which would find out that it is over.
  await worker.idle({ timeout: 30_000 });
  expect((await events.all).at(-1)).toBe("task.cancelled");
});

test("a task that is inside a tool stops", async () => {
  const { GUILDHALL_DATA_DIR: dataDir = "", GUILDHALL_SECRET: secret = "" } = installation.shared;
  const sentPath = join(dataDir, "tool.txt");
  const said = (): Promise<string> => readFile(sentPath, "utf8").catch(() => "");
  spawnWorker({
    dataDir,
    secret,
    gatewayUrl: gateway.gatewayUrl,
    databaseUrl: installation.ownerUrl,
    sentPath,
    hangs: true,
    config: {
      concurrency: 1,
      leaseMs: 3 * NEVER_MS,
      heartbeatMs: NEVER_MS,
      pollMs: NEVER_MS,
      agentTimeSliceMs: NEVER_MS,
    },
  });
  const { id, events } = await give();
  await vi.waitUntil(async () => (await said()) === "begun\n", PATIENCE);
  await tasks.cancel(id);
  await vi.waitUntil(async () => (await said()) === "begun\nstopped\n", PATIENCE);
  expect((await events.all).at(-1)).toBe("task.cancelled");
});

test("a task that rests between two attempts ends, and so does one that is paused at a limit", async () => {
  await startWorker();
  const paused = await give({ limits: { cost_nano_usd: 1 } });
  await paused.events.sees("task.paused");

  // Where folders of runs should be, there is a file: that may be the machine's trouble, so there is another attempt.
  const runs = join(installation.shared["GUILDHALL_DATA_DIR"] ?? "", "runs");
  await rm(runs, { recursive: true, force: true });
  await writeFile(runs, "");
  const resting = await give(await uploadFile());
  expect((await resting.events.sees("run.released")).data).toMatchObject({
    reason: "attempt_failed",
    retry_in_ms: NEVER_MS,
  });
  await rm(runs);

  for (const { id, events } of [paused, resting]) {
    expect((await tasks.cancel(id)).state).toBe("cancelled");
    expect((await events.all).at(-1)).toBe("task.cancelled");
  }
});

/** Marcus has delegated, and the model does not answer his colleague. */
async function delegated() {
  const files = await uploadFile();
  const worker = await startWorker();
  const called = await nextCall();
  // He lists the files, then he delegates: the third call is his colleague's first.
  await installation.setFaults([{ ...hangs, at: "before_headers", match: { nth: 3 } }]);
  const prompt = "Decide whether we can use these figures.";
  const parent = await give({ agent: "marcus", prompt, ...files });
  const { child_task_id: id } = (await parent.events.sees("task.delegated")).data;
  const child = { id, events: watch(id) };
  await child.events.sees("run.claimed");
  await called();
  await worker.busy();
  return { worker, parent, child };
}

test("a delegated task stops, and the task that waits for it goes on", async () => {
  const { worker, parent, child } = await delegated();
  await tasks.cancel(child.id);
  expect((await child.events.all).at(-1)).toBe("task.cancelled");
  expect((await parent.events.all).at(-1)).toBe("task.succeeded");
  await worker.idle();
});

test("with the task that delegated it, which fails because its time is over, a delegated task stops", async () => {
  const { worker, parent, child } = await delegated();
  const owner = await installation.connectOwner();
  // It wakes the task whose time is over, and hands on what the database tells: workers still ask nobody.
  const scheduler = await installation.start(["scheduler"], { POLL_MS: "200" });
  onTestFinished(async () => {
    await scheduler.kill();
    await owner.end();
  });
  await owner.query(
    "UPDATE tasks SET wall_time_limit_ms = 1000, started_at = clock_now() - interval '1 hour' WHERE id = $1",
    [parent.id],
  );
  await owner.query("UPDATE runs SET wake_at = clock_now() WHERE task_id = $1", [parent.id]);
  await worker.idle();
  expect((await parent.events.all).at(-1)).toBe("task.failed");
  expect((await child.events.all).at(-1)).toBe("task.cancelled");
  expect(await tasks.get(parent.id)).toMatchObject({ state: "failed", cause: "time_limit" });
  expect(await tasks.get(child.id)).toMatchObject({ state: "cancelled", cause: "parent_ended" });
});

test("with the task that delegated it a delegated task stops", async () => {
  const { worker, parent, child } = await delegated();
  await tasks.cancel(parent.id);
  await worker.idle();
  expect((await child.events.all).at(-1)).toBe("task.cancelled");
  expect((await parent.events.all).at(-1)).toBe("task.cancelled");
  expect(await tasks.get(child.id)).toMatchObject({ state: "cancelled", cause: "parent_ended" });
});

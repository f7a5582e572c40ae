import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../server/platform/clock.ts";
import { createLogger } from "../server/platform/log.ts";
import { Secret } from "../server/platform/secret.ts";
import { createEventBell } from "../server/tasks/event-bell.ts";
import { createTasks } from "../server/tasks/tasks.ts";
import { startRedis } from "../server/test/redis.ts";
import { createTenant, type Tenant } from "../server/test/tenant.ts";
import { createWakeUp, openTransport } from "../server/wake-up.ts";
import { type BenchDatabase, benchPasswordOf, startBenchPostgres } from "./database.ts";
import { percentile, printTable } from "./figures.ts";
import { createBareBullmq } from "./queue/bare-bullmq.ts";
import { createBarePostgres } from "./queue/bare-postgres.ts";
import { createIdleWorker } from "./queue/idle-worker.ts";

const TASKS = 1_000;
const PER_SECOND = 200;
/** Taken out of the figures: the first ones pay for loading and compiling, on both sides. */
const WARM_UP = 100;
const ROUNDS = 3;
const WORKSPACES = 50;
const CONCURRENCY = 64;
/** No poll helps. */
const NEVER_MS = 600_000;

type Sample = { beganMs: number; createdMs: number; startedMs: number };
type Contestant = {
  name: string;
  create(n: number, started: (atMs: number) => void): Promise<void>;
  close(): Promise<void>;
};

/** Creates at a steady pace, whatever the answers do, and waits for all starts. */
async function paced(contestant: Contestant): Promise<Sample[]> {
  const samples: Promise<Sample>[] = [];
  const first = performance.now();
  for (let n = 0; n < TASKS; n++) {
    await delay(Math.max(0, first + (n * 1_000) / PER_SECOND - performance.now()));
    samples.push(
      (async () => {
        const begin = performance.now();
        const started = Promise.withResolvers<number>();
        await contestant.create(n, started.resolve);
        const createdMs = performance.now();
        return { beganMs: begin, createdMs, startedMs: await started.promise };
      })(),
    );
  }
  return (await Promise.all(samples)).slice(WARM_UP);
}

/** One process that takes tasks on and another that executes them, as far as their connections go. */
async function product(
  database: BenchDatabase,
  options: { name: string; redisUrl?: string; tenants: readonly Tenant[] },
): Promise<Contestant> {
  const log = createLogger({ level: "error" });
  const listenUrl = new URL(database.ownerUrl);
  listenUrl.username = "guildhall_platform";
  listenUrl.password = benchPasswordOf("guildhall_platform");
  const begun = new Map<string, (atMs: number) => void>();
  const early = new Map<string, number>();

  async function openProcess() {
    const db = database.openDb();
    const transport = await openTransport({
      config: {
        REDIS_URL: options.redisUrl === undefined ? undefined : new Secret(options.redisUrl),
      },
      listenUrl: listenUrl.href,
      db,
      log,
    });
    while (!transport.isConnected()) await delay(10);
    return { db, wakeUp: createWakeUp({ transport, db, log }) };
  }
  const api = await openProcess();
  const working = await openProcess();
  const worker = await createIdleWorker(working.db, {
    passOn: working.wakeUp.passOn,
    onStart({ taskId }) {
      const nowMs = performance.now();
      const told = begun.get(taskId);
      if (told === undefined) early.set(taskId, nowMs);
      else told(nowMs);
    },
    config: {
      concurrency: CONCURRENCY,
      leaseMs: 60_000,
      heartbeatMs: 20_000,
      pollMs: NEVER_MS,
    },
  });
  worker.start();
  const serving = working.wakeUp.serve(worker);
  const tasks = createTasks({
    db: api.db,
    clock: systemClock,
    bell: api.wakeUp.bell,
    eventBell: createEventBell(),
  });
  return {
    name: options.name,
    async create(n, started) {
      const tenant = options.tenants[n % options.tenants.length];
      if (tenant === undefined) throw new Error("there are workspaces");
      const { workspaceId, agentId, userId } = tenant;
      const { answer } = await tasks.create({
        caller: { workspaceId, actor: `user:${userId}`, origin: "bench" },
        body: { agent: agentId, prompt: "Nothing." },
        idempotencyKey: undefined,
      });
      const before = early.get(answer.id);
      if (before === undefined) begun.set(answer.id, started);
      else started(before);
    },
    async close() {
      await serving.stop();
      await worker.close({ drainMs: 5_000 });
      await working.wakeUp.close();
      await api.wakeUp.close();
    },
  };
}

async function bareBullmq(url: string): Promise<Contestant> {
  const bare = await createBareBullmq(url, CONCURRENCY);
  return { name: "BullMQ by itself", create: bare.add, close: bare.close };
}

async function barePostgres(database: BenchDatabase): Promise<Contestant> {
  const bare = await createBarePostgres(database);
  return { name: "two commits in Postgres by themselves", create: bare.add, close: bare.close };
}

/**
 * How long a task waits from being created until a worker of another process begins with it, and the bare hop of a
 * queue beside it, and of two durable commits. Creating is a transaction with audit, events and outbox; starting holds the claim and reading
 * the task.
 */
export async function benchTaskWake(): Promise<void> {
  const postgres = await startBenchPostgres();
  const redis = await startRedis(["--appendfsync", "everysec"]);
  try {
    const database = await postgres.createDatabase("task_wake");
    const tenants: Tenant[] = [];
    for (let n = 0; n < WORKSPACES; n++) tenants.push(await createTenant(database.admin));
    const openers = [
      () => product(database, { name: "LISTEN/NOTIFY", tenants }),
      () => product(database, { name: "BullMQ on Redis", redisUrl: redis.url, tenants }),
      () => bareBullmq(redis.url),
      () => barePostgres(database),
    ];
    const taken = new Map<string, Sample[]>();
    for (let round = 0; round < ROUNDS; round++)
      for (const open of openers) {
        const contestant = await open();
        const samples = await paced(contestant);
        taken.set(contestant.name, [...(taken.get(contestant.name) ?? []), ...samples]);
        await contestant.close();
      }
    const wholes = new Map(
      [...taken].map(([name, samples]) => [name, samples.map((s) => s.startedMs - s.beganMs)]),
    );
    const peer = percentile(wholes.get("BullMQ by itself") ?? [], 0.5);
    printTable(
      [...taken].map(([name, samples]) => {
        const whole = wholes.get(name) ?? [];
        return {
          what: name,
          "begin of create to start p50 ms": percentile(whole, 0.5),
          "p99 ms": percentile(whole, 0.99),
          "created to start p50 ms": percentile(
            samples.map((s) => s.startedMs - s.createdMs),
            0.5,
          ),
          "ratio of p50": percentile(whole, 0.5) / peer,
        };
      }),
    );
  } finally {
    await redis.close();
    await postgres.close();
  }
}

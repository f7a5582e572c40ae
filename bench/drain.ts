import { Queue, Worker } from "bullmq";
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { Redis } from "ioredis";
import { startRedis } from "../server/test/redis.ts";
import { createTenant, type Tenant } from "../server/test/tenant.ts";
import { cpuMsOf } from "./cpu.ts";
import { type BenchDatabase, type BenchPostgres, startBenchPostgres } from "./database.ts";
import { percentile, printTable } from "./figures.ts";
import { createOwnQueue } from "./queue/own-queue.ts";

const TASKS = 2_000;
const ROUNDS = 5;
const WORKSPACES = 50;
const CONCURRENCY = 64;
const CREATORS = 16;

type Drain = { perSecond: number; ownCpuMs: number; storeCpuMs: number };

/** Something that works off what was made before. `fill` is not measured. */
type Contestant = {
  name: string;
  /** First process of the store: its CPU time is counted with that of its children. */
  storePid: number;
  fill(): Promise<void>;
  /** Resolves when all are done, and durably so. */
  drain(): Promise<void>;
  close(): Promise<void>;
};

async function measure(contestant: Contestant): Promise<Drain> {
  await contestant.fill();
  const storeMs = cpuMsOf(contestant.storePid);
  const own = process.cpuUsage();
  const begun = performance.now();
  await contestant.drain();
  const ms = performance.now() - begun;
  const { user, system } = process.cpuUsage(own);
  return {
    perSecond: (TASKS * 1_000) / ms,
    ownCpuMs: (user + system) / 1_000 / TASKS,
    storeCpuMs: (cpuMsOf(contestant.storePid) - storeMs) / TASKS,
  };
}

async function product(database: BenchDatabase, storePid: number): Promise<Contestant> {
  const tenants: Tenant[] = [];
  for (let n = 0; n < WORKSPACES; n++) tenants.push(await createTenant(database.admin));
  const queue = createOwnQueue(database);
  const openTasks = async (): Promise<number> => {
    const { rows } = await database.admin.query<{ open: number }>(
      "SELECT count(*)::int AS open FROM tasks WHERE ended_at IS NULL",
    );
    return rows[0]?.open ?? 0;
  };
  return {
    name: "Guildhall",
    storePid,
    async fill() {
      let next = 0;
      await Promise.all(
        Array.from({ length: CREATORS }, async () => {
          while (next < TASKS) {
            const tenant = tenants[next++ % tenants.length];
            if (tenant) await queue.create(tenant);
          }
        }),
      );
    },
    async drain() {
      let started = 0;
      const all = Promise.withResolvers<void>();
      await queue.work({
        concurrency: CONCURRENCY,
        onStart() {
          started++;
          if (started === TASKS) all.resolve();
        },
      });
      await all.promise;
      // What has begun last has yet to end: the worker hands over nothing that can still do so.
      await queue.rest();
      const open = await openTasks();
      if (open > 0) throw new Error(`${open} tasks did not end`);
    },
    close: () => Promise.resolve(),
  };
}

async function bareBullmq(url: string, storePid: number): Promise<Contestant> {
  const connect = (): Redis => new Redis(url, { maxRetriesPerRequest: null });
  const connections = [connect(), connect()] as const;
  const queue = new Queue<{ n: number }>("drain", { connection: connections[0] });
  await queue.waitUntilReady();
  return {
    name: "BullMQ by itself",
    storePid,
    async fill() {
      await queue.addBulk(Array.from({ length: TASKS }, (_, n) => ({ name: "task", data: { n } })));
    },
    async drain() {
      let done = 0;
      const all = Promise.withResolvers<void>();
      const worker = new Worker<{ n: number }>("drain", () => Promise.resolve(), {
        connection: connections[1],
        concurrency: CONCURRENCY,
      });
      worker.on("completed", () => {
        done++;
        if (done === TASKS) all.resolve();
      });
      await all.promise;
      await worker.close();
    },
    async close() {
      await queue.close();
      for (const connection of connections) connection.disconnect();
    },
  };
}

const quiet = new Logger(() => () => undefined);

/** Its default mode: each job is fetched and completed by itself. */
async function graphileWorker(database: BenchDatabase, storePid: number): Promise<Contestant> {
  const connectionString = database.ownerUrl;
  const utils = await makeWorkerUtils({ connectionString, logger: quiet });
  await utils.migrate();
  return {
    name: "graphile-worker",
    storePid,
    async fill() {
      await utils.addJobs(
        Array.from({ length: TASKS }, (_, n) => ({ identifier: "nothing", payload: { n } })),
      );
    },
    async drain() {
      let done = 0;
      const all = Promise.withResolvers<void>();
      const runner = await run({
        connectionString,
        concurrency: CONCURRENCY,
        noHandleSignals: true,
        taskList: { nothing: () => Promise.resolve() },
        logger: quiet,
      });
      runner.events.on("job:success", () => {
        done++;
        if (done === TASKS) all.resolve();
      });
      await all.promise;
      await runner.stop();
    },
    close: async () => utils.release(),
  };
}

/**
 * How many tasks that do nothing are worked off per second, beside two queues: here with claim, agent time,
 * end and events, each durable.
 */
export async function benchDrain(): Promise<void> {
  const postgres: BenchPostgres = await startBenchPostgres();
  const redis = await startRedis(["--appendfsync", "everysec"]);
  const contestants: Contestant[] = [];
  try {
    contestants.push(await product(await postgres.createDatabase("drain"), postgres.pid));
    contestants.push(await bareBullmq(redis.url, redis.pid()));
    contestants.push(await graphileWorker(await postgres.createDatabase("graphile"), postgres.pid));
    const rounds = new Map<string, Drain[]>(contestants.map(({ name }) => [name, []]));
    for (let round = 0; round <= ROUNDS; round++)
      for (const contestant of contestants) {
        const drained = await measure(contestant);
        if (round > 0) rounds.get(contestant.name)?.push(drained);
      }
    const median = (name: string, figure: keyof Drain): number =>
      percentile(
        (rounds.get(name) ?? []).map((drained) => drained[figure]),
        0.5,
      );
    const peer = median("BullMQ by itself", "perSecond");
    printTable(
      contestants.map(({ name }) => ({
        what: name,
        "tasks/s": median(name, "perSecond"),
        "ratio to BullMQ": median(name, "perSecond") / peer,
        "worker CPU ms/task": median(name, "ownCpuMs"),
        "store CPU ms/task": median(name, "storeCpuMs"),
      })),
    );
  } finally {
    for (const contestant of contestants) await contestant.close();
    await redis.close();
    await postgres.close();
  }
}

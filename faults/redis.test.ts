import { setInterval as ticks } from "node:timers/promises";
import { afterAll, expect, onTestFinished, test, vi } from "vitest";
import { hasRedis, startRedis } from "../server/test/redis.ts";
import { openStage, until } from "./stage.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

/** Two workers at an API, woken by Redis. */
async function openOnRedis() {
  const redis = await startRedis();
  const stage = await openStage({ REDIS_URL: redis.url, WORKER_CONCURRENCY: "4" });
  const workers = [await stage.startWorker(), await stage.startWorker()];
  afterAll(async () => {
    await stage.close();
    await redis.close();
  });
  return { redis, workers, ...stage };
}
const opened = hasRedis ? await openOnRedis() : undefined;
const stageOf = () => opened!;

/** A figure of the API's process. */
async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${stageOf().api.url}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  return Number(line?.slice(name.length));
}
const wakesSent = () => metric('guildhall_wakes_total{transport="redis",outcome="sent"}');
const isUp = async () => (await metric('guildhall_wake_transport_up{transport="redis"}')) === 1;

async function give(count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < count; n++)
    ids.push((await stageOf().client.tasks.create({ agent: "yuki", prompt: "Say done" })).id);
  return ids;
}

/** All in their first attempt: a wake that is lost, late or doubled has no other effect. */
async function endInOne(taskIds: readonly string[]): Promise<void> {
  const { succeeds, eventsOf, lawsHold } = stageOf();
  for (const id of taskIds) {
    await succeeds(id);
    const claims = (await eventsOf(id)).filter(({ type }) => type === "run.claimed");
    expect(claims.map(({ data }) => data)).toMatchObject([{ attempt: 1 }]);
  }
  await lawsHold();
}

/** What is given is told by Redis again. */
async function bellIsBack(): Promise<void> {
  await until(isUp);
  const before = await wakesSent();
  const ids: string[] = [];
  await until(async () => {
    ids.push(...(await give(1)));
    return (await wakesSent()) > before;
  });
  await endInOne(ids);
}

/** Does `harm` again and again while tasks are given. */
async function giveDuring(harm: () => unknown): Promise<string[]> {
  let given = false;
  const harming = (async () => {
    for await (const _ of ticks(100)) {
      await harm();
      if (given) return;
    }
  })();
  try {
    return await give(30);
  } finally {
    given = true;
    await harming;
  }
}

test.skipIf(!hasRedis)(
  "F11 Redis is killed and started again in the midst of tasks: all end, each in one attempt",
  async () => {
    const { redis } = stageOf();
    const ids = await give(15);
    await redis.kill();
    ids.push(...(await give(15)));
    await redis.start();
    ids.push(...(await give(15)));
    await endInOne(ids);
    await bellIsBack();
  },
);

test.skipIf(!hasRedis)(
  "F11 a worker that hardly ever polls looks for work when Redis is back",
  async () => {
    const { redis, startWorker, workers } = stageOf();
    for (const worker of workers) worker.freeze();
    onTestFinished(() => workers.forEach((worker) => worker.thaw()));
    const worker = await startWorker({ POLL_MS: "3600000" });
    onTestFinished(() => worker.kill());
    await redis.kill();
    const ids = await give(3);
    await redis.start();
    await endInOne(ids);
  },
);

test.skipIf(!hasRedis)(
  "F12 Redis is emptied again and again: all tasks end, each in one attempt",
  async () => {
    const { redis } = stageOf();
    await endInOne(await giveDuring(() => redis.client.flushall()));
    await bellIsBack();
  },
);

test.skipIf(!hasRedis)(
  "F13 the tail of Redis's log is lost: old wakes come again and do no harm, and all tasks end",
  async () => {
    const { redis } = stageOf();
    const ids = await give(10);
    await redis.keepCopy();
    ids.push(...(await give(10)));
    await redis.kill();
    await redis.putBackCopy();
    await redis.start();
    ids.push(...(await give(10)));
    await endInOne(ids);
    await bellIsBack();
  },
);

test.skipIf(!hasRedis)(
  "F14 Redis is full: all tasks end, and the bell is back when there is room",
  async () => {
    const { redis } = stageOf();
    await redis.client.config("SET", "maxmemory", "1");
    await endInOne(await give(20));
    await redis.client.config("SET", "maxmemory", "0");
    await bellIsBack();
  },
);

test.skipIf(!hasRedis)(
  "F11 the network to Redis swallows everything, then breaks again and again: all tasks end",
  async () => {
    const { api, workers } = stageOf();
    const links = [api, ...workers].map((process) => process.links.redis!);
    for (const link of links) link.drop();
    await endInOne(await give(10));
    for (const link of links) link.heal();
    await endInOne(await giveDuring(() => links.forEach((link) => link.reset())));
    await bellIsBack();
  },
);

import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { Queue } from "bullmq";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { hasRedis, startRedis } from "../../test/redis.ts";
import { AppError } from "../errors.ts";
import { createLogger } from "../log.ts";
import { checkRedis, redisFacts, unfitRedis } from "./redis-check.ts";
import { names } from "./redis-client.ts";
import { createRedisTransport } from "./redis-transport.ts";
import type { DeadWake, Transport } from "./transport.ts";

const log = createLogger({ level: "silent" });
const TASK = "task_00000000000000000000000001";

it("a Redis older than 7 is refused with what to do", () => {
  const facts = redisFacts("# Server\r\nredis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n");
  expect(unfitRedis(facts)).toMatchObject({
    code: "redis_too_old",
    publicMessage: expect.stringContaining("6.2.14"),
    hint: expect.stringContaining("REDIS_URL"),
  });
  expect(unfitRedis({ ...facts, version: "7.0.15" })).toBeUndefined();
  expect(unfitRedis({ ...facts, version: "10.0.1" })).toBeUndefined();
  expect(unfitRedis({ ...facts, version: "" })).toMatchObject({ code: "redis_too_old" });
});

describe.skipIf(!hasRedis)("Redis", async () => {
  const redis = await startRedis();
  afterAll(() => redis.close());
  const open: Transport[] = [];
  afterEach(async () => {
    for (const transport of open.splice(0)) await transport.close();
    await redis.client.config("SET", "maxmemory", "0");
    await redis.client.config("SET", "maxmemory-policy", "noeviction");
    await redis.client.flushall();
  });

  /** A process that is there, and one that hears if it `listens`. */
  async function connected(listens: boolean) {
    const heard = { ids: [] as string[], rings: 0, dead: [] as DeadWake[] };
    const transport = createRedisTransport({
      url: redis.url,
      log,
      onDead: async (dead) => void heard.dead.push(dead),
    });
    open.push(transport);
    if (listens)
      transport.listen({
        async ready({ taskIds }) {
          heard.rings += 1;
          heard.ids.push(...taskIds);
        },
        ended() {},
      });
    await expect.poll(() => transport.isConnected() && (!listens || heard.rings > 0)).toBe(true);
    return { transport, heard };
  }

  async function refusal(url: string): Promise<AppError> {
    const error = await checkRedis(url).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof AppError)) throw new Error(`not refused: ${String(error)}`);
    return error;
  }

  it("one that evicts is refused with the setting that it needs, whichever policy it has", async () => {
    for (const policy of ["allkeys-lru", "volatile-lru", "allkeys-random", "volatile-ttl"]) {
      await redis.client.config("SET", "maxmemory-policy", policy);
      expect(await refusal(redis.url)).toMatchObject({
        code: "redis_eviction_policy",
        publicMessage: expect.stringContaining(`"${policy}"`),
        hint: expect.stringContaining("maxmemory-policy noeviction"),
      });
    }
    await redis.client.config("SET", "maxmemory-policy", "noeviction");
    expect(await checkRedis(redis.url)).toEqual({ status: "fit" });
  });

  it("one with another password is refused, and one that is not there is not", async () => {
    await redis.client.config("SET", "requirepass", "swordfish");
    try {
      const url = new URL(redis.url);
      expect(await refusal(url.href)).toMatchObject({ code: "redis_refused" });
      url.password = "wrong";
      expect(await refusal(url.href)).toMatchObject({ code: "redis_refused" });
      url.password = "swordfish";
      expect(await checkRedis(url.href)).toEqual({ status: "fit" });
    } finally {
      await redis.client.config("SET", "requirepass", "");
    }
    expect(await checkRedis("redis://127.0.0.1:1")).toMatchObject({ status: "unreachable" });
  });

  it("one that comes back with a policy that evicts is not used until that is put right", async () => {
    const { transport } = await connected(false);
    await redis.client.config("SET", "maxmemory-policy", "allkeys-lru");
    await redis.client.call("CLIENT", "KILL", "TYPE", "normal");
    await expect.poll(() => transport.isConnected()).toBe(false);
    transport.send({ kind: "run_ready", taskIds: [TASK] });
    await transport.flushed();
    expect(transport.counts).toMatchObject({ sent: 0, dropped: 1 });
    await redis.client.config("SET", "maxmemory-policy", "noeviction");
    await redis.client.call("CLIENT", "KILL", "TYPE", "normal");
    await expect.poll(() => transport.isConnected()).toBe(true);
  });

  it("one that says nothing more right after it was connected to holds up neither a send nor the end", async () => {
    let asked = 0;
    // The client asks what it is to know that it is there, and we to know whether it may be used.
    const mute = createServer((client) => {
      const server = connect(Number(new URL(redis.url).port), "127.0.0.1");
      client.on("error", () => server.destroy()).on("close", () => server.destroy());
      server.on("error", () => client.destroy()).on("close", () => client.destroy());
      client.on("data", (data) => {
        if (/\r\ninfo\r\n/i.test(data.toString())) asked += 1;
        if (asked < 2) server.write(data);
      });
      server.on("data", (data) => asked < 2 && client.write(data));
    });
    await once(mute.listen(0, "127.0.0.1"), "listening");
    const { port } = mute.address() as AddressInfo;
    const url = `redis://127.0.0.1:${port}`;
    const transport = createRedisTransport({ url, log, onDead: () => Promise.resolve() });
    await expect.poll(() => asked).toBe(2);
    transport.send({ kind: "run_ready", taskIds: [TASK] });
    await transport.flushed();
    expect(transport.counts).toMatchObject({ sent: 0, dropped: 1 });
    await transport.close();
    mute.close();
  });

  it("while all workers are full it keeps some wakes, and more once they have room again", async () => {
    const { transport } = await connected(false);
    const room = Promise.withResolvers<void>();
    const rung: string[] = [];
    const worker = createRedisTransport({ url: redis.url, log, onDead: () => Promise.resolve() });
    open.push(worker);
    worker.listen({
      async ready({ taskIds }) {
        await room.promise;
        rung.push(...taskIds);
      },
      ended() {},
    });
    const idOf = (n: number): string => `task_${String(n).padStart(26, "0")}`;
    const tell = async (from: number, times: number): Promise<void> => {
      for (let n = 0; n < times; n++) {
        const taskIds = Array.from({ length: 100 }, (_, k) => idOf(from + 100 * n + k));
        transport.send({ kind: "run_ready", taskIds });
        await transport.flushed();
      }
    };
    await tell(0, 50);
    const queue = new Queue(names.queue, { connection: redis.client, prefix: "guildhall" });
    const waiting = async (): Promise<number> => queue.getWaitingCount();
    expect(await waiting()).toBeGreaterThan(900);
    expect(await waiting()).toBeLessThan(2_100);
    room.resolve();
    await expect.poll(waiting, { timeout: 20_000 }).toBe(0);
    await tell(5_000, 1);
    await expect.poll(() => rung.filter((id) => id >= idOf(5_000)).length).toBe(100);
  });

  it("full it takes no wake, and the same processes use it again when there is room", async () => {
    const [api, worker] = [await connected(false), await connected(true)];
    await redis.client.config("SET", "maxmemory", "1");
    api.transport.send({ kind: "run_ready", taskIds: [TASK] });
    await api.transport.flushed();
    expect(api.transport.counts).toMatchObject({ sent: 0, dropped: 1 });
    await redis.client.config("SET", "maxmemory", "0");
    api.transport.send({ kind: "run_ready", taskIds: [TASK] });
    await expect.poll(() => worker.heard.ids, { timeout: 10_000 }).toContain(TASK);
  });

  it("filled with work in the queue, a worker rests between its tries instead of turning round and round", async () => {
    const api = await connected(false);
    for (let n = 0; n < 50; n++)
      api.transport.send({ kind: "run_ready", taskIds: [TASK.slice(0, -2) + (10 + n)] });
    await api.transport.flushed();
    await redis.client.config("SET", "maxmemory", "1");
    await redis.client.config("RESETSTAT");
    const heard: string[] = [];
    const worker = createRedisTransport({ url: redis.url, log, onDead: async () => {} });
    open.push(worker);
    worker.listen({ ready: async ({ taskIds }) => void heard.push(...taskIds), ended() {} });
    await expect.poll(() => worker.isConnected()).toBe(true);
    const figure = async (section: string, name: RegExp): Promise<number> =>
      Number(name.exec(await redis.client.info(section))?.[1] ?? 0);
    const failures = () => figure("errorstats", /errorstat_OOM:count=(\d+)/);
    const uptimeS = () => figure("server", /uptime_in_seconds:(\d+)/);
    await expect.poll(failures, { timeout: 10_000 }).toBeGreaterThan(0);
    const [before, sinceS] = [await failures(), await uptimeS()];
    await expect.poll(uptimeS, { timeout: 10_000 }).toBeGreaterThan(sinceS + 1);
    const inOneToTwoSeconds = (await failures()) - before;
    expect(inOneToTwoSeconds).toBeGreaterThan(0);
    expect(inOneToTwoSeconds).toBeLessThan(20);
    await redis.client.config("SET", "maxmemory", "0");
    await expect.poll(() => heard.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(50);
  });

  it("emptied again and again, it loses what was in it, and the next wake arrives", async () => {
    const [api, worker] = [await connected(false), await connected(true)];
    for (let n = 10; n < 30; n++) {
      api.transport.send({ kind: "run_ready", taskIds: [TASK.slice(0, -2) + n] });
      await redis.client.flushall();
    }
    api.transport.send({ kind: "run_ready", taskIds: [TASK] });
    await expect.poll(() => worker.heard.ids, { timeout: 10_000 }).toContain(TASK);
  });

  it("started again from an older copy, it may repeat wakes, and new ones arrive", async () => {
    const api = await connected(false);
    api.transport.send({ kind: "run_ready", taskIds: [TASK] });
    await api.transport.flushed();
    await redis.keepCopy();
    const worker = await connected(true);
    await expect.poll(() => worker.heard.ids).toEqual([TASK]);
    await redis.kill();
    await redis.putBackCopy();
    await redis.start();
    await expect.poll(() => worker.heard.ids, { timeout: 10_000 }).toEqual([TASK, TASK]);
    await expect.poll(() => api.transport.isConnected()).toBe(true);
    const next = `${TASK.slice(0, -1)}2`;
    api.transport.send({ kind: "run_ready", taskIds: [next] });
    await expect.poll(() => worker.heard.ids, { timeout: 10_000 }).toContain(next);
  });

  it("a job in the queue that fits no schema fails once, with its reason, and is tried no more", async () => {
    const { heard } = await connected(true);
    const queue = new Queue("guildhall-wakes", { connection: redis.client, prefix: "guildhall" });
    const jobs = [{ data: { v: 1, kind: "run_ready", task_ids: "all" } }, { data: null }];
    await queue.addBulk(jobs.map((job) => ({ name: "stranger", ...job, opts: { attempts: 5 } })));
    await expect.poll(() => queue.getFailedCount()).toBe(jobs.length);
    const failed = await queue.getFailed();
    expect(failed.map((job) => job.attemptsMade)).toEqual([1, 1]);
    expect(failed.some((job) => job.failedReason.startsWith("task_ids: "))).toBe(true);
    expect(heard.dead).toHaveLength(jobs.length);
    // One of another release does its part and is gone.
    const rings = heard.rings;
    await queue.add("future", { v: 99, anything: true });
    await expect.poll(() => heard.rings).toBe(rings + 1);
    await expect.poll(() => queue.getJobCounts()).toMatchObject({ waiting: 0, active: 0 });
  });

  it("a process without room holds one wake at most, and the others take the rest", async () => {
    const room = Promise.withResolvers<void>();
    const full: string[] = [];
    const busy = createRedisTransport({ url: redis.url, log, onDead: async () => {} });
    open.push(busy);
    busy.listen({
      async ready({ taskIds }) {
        full.push(...taskIds);
        if (taskIds.length > 0) await room.promise;
      },
      ended() {},
    });
    await expect.poll(() => busy.isConnected()).toBe(true);
    const [api, other] = [await connected(false), await connected(true)];
    for (let n = 10; n < 40; n++)
      api.transport.send({ kind: "run_ready", taskIds: [TASK.slice(0, -2) + n] });
    await expect.poll(() => other.heard.ids.length + full.length).toBe(30);
    expect(full.length).toBeLessThanOrEqual(1);
    room.resolve();
  });
});

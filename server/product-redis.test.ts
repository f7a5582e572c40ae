import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  makeDataDir,
  type Product,
  removeDataDir,
  runGuildhall,
  startProduct,
} from "./test/product.ts";
import { hasRedis, startRedis, type TestRedis } from "./test/redis.ts";

/** What wake-up.test.ts shows of the parts, of the program that a user starts. */
describe.skipIf(!hasRedis)("the product on Redis", { timeout: 120_000 }, () => {
  let redis: TestRedis;
  let dataDir: string;
  let product: Product | undefined;

  beforeEach(async () => {
    redis = await startRedis();
    dataDir = await makeDataDir();
  });
  afterEach(async () => {
    await product?.stop();
    product = undefined;
    await redis.close();
    await removeDataDir(dataDir);
  });

  async function start(env: Record<string, string> = {}): Promise<Product> {
    product = await startProduct({
      dataDir,
      env: {
        REDIS_URL: redis.url,
        POLL_MS: "200",
        LOG_LEVEL: "warn",
        WORKER_CONCURRENCY: "4",
        ...env,
      },
    });
    return product;
  }

  async function create(on: Product, count: number): Promise<string[]> {
    const ids: string[] = [];
    for (let n = 0; n < count; n++) {
      const response = await on.api("/v1/tasks", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ agent: "yuki", prompt: `Say done, number ${n}.` }),
      });
      expect(response.status).toBe(201);
      ids.push(((await response.json()) as { id: string }).id);
    }
    return ids;
  }

  async function allSucceed(on: Product, ids: readonly string[]): Promise<void> {
    await expect
      .poll(
        async () => {
          const response = await on.api("/v1/tasks?limit=200");
          const { data } = (await response.json()) as { data: { id: string; state: string }[] };
          return ids.filter((id) => data.find((task) => task.id === id)?.state !== "succeeded");
        },
        { timeout: 60_000, interval: 100 },
      )
      .toEqual([]);
    const verified = await on.cli("verify");
    expect(verified.stdout + verified.stderr).not.toMatch(/broken|violat/i);
    expect(verified.code).toBe(0);
  }

  it("a Redis that evicts stops the start, which says what to set", async () => {
    await redis.client.config("SET", "maxmemory-policy", "allkeys-lru");
    const { code, stderr } = await runGuildhall(["start"], {
      GUILDHALL_DATA_DIR: dataDir,
      REDIS_URL: redis.url,
      PORT: "0",
      GATEWAY_PORT: "0",
    });
    expect(code).not.toBe(0);
    expect(stderr).toContain("allkeys-lru");
    expect(stderr).toContain("maxmemory-policy noeviction");
  });

  it("with Redis down at the start tasks start by the poll, and it is used when it comes", async () => {
    await redis.kill();
    const on = await start();
    await allSucceed(on, await create(on, 5));
    await redis.start();
    await allSucceed(on, await create(on, 5));
  });
});

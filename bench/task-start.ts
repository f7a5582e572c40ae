import { setTimeout as delay } from "node:timers/promises";
import { makeDataDir, removeDataDir, startProduct } from "../server/test/product.ts";
import { startRedis } from "../server/test/redis.ts";
import { percentile, printTable } from "./figures.ts";
import { startInstantProvider } from "./provider/instant-provider.ts";
import { createBareBullmq } from "./queue/bare-bullmq.ts";

const TASKS = 200;
const PER_SECOND = 20;
const CONCURRENCY = 64;
/** Taken out of the figures: the first ones pay for loading and compiling, on both sides. */
const WARM_UP = 20;

/** Calls `create(n)` at a steady pace, and waits until `arrived(n)` for all. -> milliseconds from one to the other */
async function paced(options: {
  create(n: number): Promise<unknown>;
  arrivedAt(n: number): number | undefined;
}): Promise<number[]> {
  const begun: number[] = [];
  const pending: Promise<unknown>[] = [];
  for (let n = 0; n < TASKS; n++) {
    begun.push(performance.now());
    pending.push(options.create(n));
    await delay(1_000 / PER_SECOND);
  }
  await Promise.all(pending);
  const deadline = performance.now() + 60_000;
  while (begun.some((_, n) => options.arrivedAt(n) === undefined)) {
    if (performance.now() > deadline) throw new Error("some tasks never reached the provider");
    await delay(50);
  }
  return begun.map((at, n) => (options.arrivedAt(n) ?? Number.NaN) - at).slice(WARM_UP);
}

/** From the start of `POST /v1/tasks` to the first byte of its model call at the provider. */
async function measureProduct(): Promise<number[]> {
  const provider = await startInstantProvider();
  const dataDir = await makeDataDir();
  const product = await startProduct({
    dataDir,
    env: { MODEL_BASE_URL: provider.url, WORKER_CONCURRENCY: String(CONCURRENCY) },
  });
  try {
    return await paced({
      create: async (n) => {
        const response = await fetch(`${product.url}/v1/tasks`, {
          method: "POST",
          headers: {
            authorization: `Bearer ${product.apiKey}`,
            "content-type": "application/json",
          },
          body: JSON.stringify({ agent: "yuki", prompt: `bench-marker-${n} say done` }),
        });
        if (response.status !== 201)
          throw new Error(`create answered ${response.status}: ${await response.text()}`);
      },
      arrivedAt: (n) => provider.arrivals.get(String(n)),
    });
  } finally {
    await product.stop();
    await provider.close();
    await removeDataDir(dataDir);
  }
}

/** From `queue.add` to the worker's handler, on a Redis that syncs each second. */
async function measureBullmq(): Promise<number[]> {
  const redis = await startRedis(["--appendfsync", "everysec"]);
  const bare = await createBareBullmq(redis.url, CONCURRENCY);
  const arrivals = new Map<number, number>();
  try {
    return await paced({
      create: (n) => bare.add(n, (atMs) => arrivals.set(n, atMs)),
      arrivedAt: (n) => arrivals.get(n),
    });
  } finally {
    await bare.close();
    await redis.close();
  }
}

/**
 * How long a task waits before its agent's first model call leaves, beside the bare hop of a queue. Guildhall's figure
 * holds creation with audit, events and idempotency, the claim, the hold on six budget levels, and the
 * gateway; the peer's only an add and a handler.
 */
export async function benchTaskStart(): Promise<void> {
  const product = await measureProduct();
  const peer = await measureBullmq();
  const row = (name: string, samples: readonly number[]) => ({
    what: name,
    "p50 ms": percentile(samples, 0.5),
    "p99 ms": percentile(samples, 0.99),
  });
  printTable([
    row("POST /v1/tasks to first byte at the provider", product),
    row("BullMQ add to handler", peer),
    {
      what: "ratio",
      "p50 ms": percentile(product, 0.5) / percentile(peer, 0.5),
      "p99 ms": percentile(product, 0.99) / percentile(peer, 0.99),
    },
  ]);
}

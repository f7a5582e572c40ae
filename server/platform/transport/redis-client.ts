import { Redis } from "ioredis";
import type { Logger } from "../log.ts";

/** A send that takes longer counts as lost: what it tells of is found by the poll by then. */
export const REDIS_TIMEOUT_MS = 2_000;

const RETRY_AT_MOST_MS = 2_000;
const LOG_AGAIN_MS = 60_000;

/** What the parts of the transport share. */
export type RedisParts = {
  url: string;
  log: Logger;
  /** Of all keys, so that several installations may share a server. */
  prefix: string;
  /** Logs what it says for the first time in a while: a Redis that is away says so many times a second. */
  seldom(error: unknown, message: string): void;
};

export const names = {
  queue: "guildhall-wakes",
  job: "run_ready",
  /** The channel on which the ends of tasks are published. */
  channel: (prefix: string): string => `${prefix}:task-ended`,
} as const;

/** Payloads that fit no schema stay in the queue's own failed set, for whoever looks there. */
export const DEAD_KEPT = 1_000;

export function createSeldom(log: Logger): RedisParts["seldom"] {
  const said = new Map<string, number>();
  return (error, message) => {
    const nowMs = performance.now();
    if (nowMs - (said.get(message) ?? -LOG_AGAIN_MS) < LOG_AGAIN_MS) return;
    said.set(message, nowMs);
    log.warn({ err: error, transport: "redis" }, message);
  };
}

/** A connection that comes back by itself. */
export function connectRedis(
  { url, seldom }: RedisParts,
  options: { maxRetriesPerRequest: number | null; enableOfflineQueue?: boolean },
): Redis {
  const client = new Redis(url, {
    ...options,
    connectTimeout: REDIS_TIMEOUT_MS,
    retryStrategy: (times: number) => Math.min(100 * 2 ** Math.min(times, 8), RETRY_AT_MOST_MS),
  });
  client.on("error", (error: Error) => seldom(error, "Redis is away; tasks start by the poll"));
  return client;
}

/** The same work, or a failure when it takes too long; it goes on then, and nobody waits for it. */
export async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

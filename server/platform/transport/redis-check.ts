import { Redis } from "ioredis";
import { AppError } from "../errors.ts";

const OLDEST_MAJOR = 7;
const CONNECT_TIMEOUT_MS = 3_000;

/** What a Redis says about itself that decides whether it may be used. */
export type RedisFacts = { version: string; maxmemoryPolicy: string };

/** Reads the answer to `INFO`: managed servers answer it also where they refuse `CONFIG`. */
export function redisFacts(info: string): RedisFacts {
  const field = (name: string): string =>
    new RegExp(`^${name}:(.*)$`, "m").exec(info)?.[1]?.trim() ?? "";
  return { version: field("redis_version"), maxmemoryPolicy: field("maxmemory_policy") };
}

/** -> why this Redis may not be used, with what to do; undefined when it may */
export function unfitRedis({ version, maxmemoryPolicy }: RedisFacts): AppError | undefined {
  if (!(Number.parseInt(version, 10) >= OLDEST_MAJOR))
    return new AppError({
      code: "redis_too_old",
      status: 500,
      publicMessage: `The Redis at REDIS_URL is version ${version === "" ? "unknown" : version}; Guildhall needs ${OLDEST_MAJOR}.0 or later.`,
      hint: "Use a newer Redis, or unset REDIS_URL: then Postgres wakes the workers.",
    });
  if (maxmemoryPolicy !== "noeviction")
    return new AppError({
      code: "redis_eviction_policy",
      status: 500,
      publicMessage: `The Redis at REDIS_URL has maxmemory-policy "${maxmemoryPolicy}", by which it would throw away queued work when it is full.`,
      hint: "Set it to noeviction: `redis-cli CONFIG SET maxmemory-policy noeviction`, and `maxmemory-policy noeviction` in redis.conf (or in the provider's settings) so that it stays.",
    });
  return undefined;
}

function isRefusal(error: Error): boolean {
  return /^(NOAUTH|WRONGPASS|NOPERM|ERR .*(AUTH|DB index))/.test(error.message);
}

/**
 * Looks at the Redis before anything relies on it. A server that cannot be reached is no reason not to start: until it
 * is there, tasks start by the poll.
 * -> `unreachable` with why. Throws `redis_eviction_policy`, `redis_too_old` and `redis_refused`.
 */
export async function checkRedis(
  url: string,
): Promise<{ status: "fit" } | { status: "unreachable"; why: string }> {
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: CONNECT_TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let lost: Error | undefined;
  client.on("error", (error: Error) => (lost = error));
  try {
    await client.connect();
    const unfit = unfitRedis(redisFacts(await client.info()));
    if (unfit !== undefined) throw unfit;
    return { status: "fit" };
  } catch (error) {
    if (error instanceof AppError) throw error;
    const why = lost ?? (error instanceof Error ? error : new Error(String(error)));
    if (isRefusal(why))
      throw new AppError({
        code: "redis_refused",
        status: 500,
        publicMessage: `The Redis at REDIS_URL refused the connection: ${why.message}`,
        hint: "Correct user, password or database number in REDIS_URL (redis://user:password@host:6379/0).",
        cause: error,
      });
    return { status: "unreachable", why: why.message };
  } finally {
    client.disconnect();
  }
}

import { UnrecoverableError, Worker } from "bullmq";
import { receive } from "./incoming.ts";
import {
  connectRedis,
  DEAD_KEPT,
  names,
  REDIS_TIMEOUT_MS,
  type RedisParts,
  within,
} from "./redis-client.ts";
import { type DeadWake, lookAround, type TransportCounts, type WakeListener } from "./transport.ts";
import { parseWake, parseWakeText } from "./wake.ts";

/** BullMQ goes on at once after an error that is not the connection's (a full Redis): it would do nothing else. */
const REST_AFTER_ERROR_MS = 250;

/** Lets the worker rest after each error. -> a function that ends the resting */
function restAfterErrors(worker: Worker<unknown>, seldom: RedisParts["seldom"]): () => void {
  let rest: NodeJS.Timeout | undefined;
  let ended = false;
  worker.on("error", (error) => {
    seldom(error, "the queue in Redis had an error; tasks start by the poll meanwhile");
    if (rest !== undefined || ended) return;
    void worker.pause(true);
    rest = setTimeout(() => {
      rest = undefined;
      void worker.resume();
    }, REST_AFTER_ERROR_MS);
  });
  return () => {
    ended = true;
    clearTimeout(rest);
  };
}

/** This process's part of the queue: each wake goes to one process that has room, and the ends of tasks to all. */
export function createRedisReceiver(
  deps: RedisParts & {
    listener: WakeListener;
    counts: TransportCounts;
    onDead(dead: DeadWake): Promise<void>;
  },
): { stop(): Promise<void> } {
  const { listener, prefix, seldom } = deps;
  const incoming = { ...deps, transport: "redis" } as const;
  const connection = connectRedis(deps, { maxRetriesPerRequest: null });
  const told = connectRedis(deps, { maxRetriesPerRequest: null });

  const worker = new Worker<unknown>(
    names.queue,
    async (job) => {
      const parsed = parseWake(job.data);
      await receive(incoming, { parsed, text: () => JSON.stringify(job.data) });
      if (parsed.status === "unfit") throw new UnrecoverableError(parsed.reason);
    },
    {
      connection,
      prefix,
      // One at a time: a process without room holds one wake at most, and the others take the rest.
      concurrency: 1,
      runRetryDelay: REST_AFTER_ERROR_MS,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: DEAD_KEPT },
    },
  );
  const endResting = restAfterErrors(worker, seldom);

  told.on("message", (_channel, text) => {
    void receive(incoming, { parsed: parseWakeText(text), text: () => text });
  });
  // The client subscribes again by itself after a loss; this is its first time.
  told
    .subscribe(names.channel(prefix))
    .catch((error: unknown) => seldom(error, "the ends of tasks are not heard"));
  // Also after each loss: what was said meanwhile is gone.
  const look = (): void => void listener.ready(lookAround).catch(() => undefined);
  told.on("ready", look);

  return {
    async stop() {
      endResting();
      told.off("ready", look);
      // With the server away a graceful end would wait for it. A job that is cut off comes again, and does no harm.
      const force = connection.status !== "ready";
      await within(worker.close(force), REDIS_TIMEOUT_MS).catch(() => undefined);
      connection.disconnect();
      told.disconnect();
    },
  };
}

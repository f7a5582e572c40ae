import { randomUUID } from "node:crypto";
import { Queue } from "bullmq";
import type { Logger } from "../log.ts";
import { createOutgoing } from "./outgoing.ts";
import { redisFacts, unfitRedis } from "./redis-check.ts";
import {
  connectRedis,
  createSeldom,
  DEAD_KEPT,
  names,
  REDIS_TIMEOUT_MS,
  type RedisParts,
  within,
} from "./redis-client.ts";
import { createRedisReceiver } from "./redis-receiver.ts";
import { type DeadWake, noCounts, type Transport, type TransportCounts } from "./transport.ts";
import { type Wake, wakePayload } from "./wake.ts";

/** So many jobs that wait are enough: whoever is rung looks until there is nothing more to find. */
const ENOUGH_WAITING = 1_000;

/** The sending half: a queue for work, a channel for the ends of tasks. */
function createRedisSender(parts: RedisParts, counts: TransportCounts) {
  const { log, prefix, seldom } = parts;
  const from = randomUUID();
  // Without the offline queue a send fails at once when Redis is away, and does not pile up.
  const client = connectRedis(parts, { maxRetriesPerRequest: 0, enableOfflineQueue: false });
  const queue = new Queue<unknown>(names.queue, {
    connection: client,
    prefix,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: { count: DEAD_KEPT } },
  });
  queue.on("error", (error) => seldom(error, "Redis is away; tasks start by the poll"));
  let fit = false;
  let looking = Promise.resolve();
  /** Jobs since somebody looked how many wait. */
  let added = 0;

  // A server may come back as another one, or with another configuration.
  async function look(): Promise<void> {
    try {
      const unfit = unfitRedis(redisFacts(await within(client.info(), REDIS_TIMEOUT_MS)));
      fit = unfit === undefined;
      if (unfit !== undefined)
        log.error({ err: unfit }, "Redis is not used until this is put right");
    } catch (error) {
      fit = false;
      seldom(error, "Redis does not say what it is");
    }
  }
  client.on("ready", () => {
    looking = look();
  });
  client.on("close", () => {
    fit = false;
  });

  /** While all workers are full nobody takes a job, and each further one would lie in Redis to tell the same. */
  async function enoughWait(): Promise<boolean> {
    if (added < ENOUGH_WAITING) return false;
    if ((await queue.getWaitingCount()) >= ENOUGH_WAITING) return true;
    added = 0;
    return false;
  }

  async function hand(wakes: readonly Wake[]): Promise<void> {
    // One job an id, for each is work for one process.
    const jobs = wakes
      .filter((wake) => wake.kind === "run_ready")
      .flatMap((wake): Wake[] =>
        wake.taskIds.length === 0 ? [wake] : wake.taskIds.map((id) => ({ ...wake, taskIds: [id] })),
      )
      .map((wake) => ({ name: names.job, data: wakePayload(wake, from) }));
    if (jobs.length > 0 && !(await enoughWait())) {
      await queue.addBulk(jobs);
      added += jobs.length;
    }
    for (const wake of wakes)
      if (wake.kind === "task_ended")
        await client.publish(names.channel(prefix), JSON.stringify(wakePayload(wake, from)));
  }

  const outgoing = createOutgoing(async (wakes) => {
    await looking;
    if (!fit) {
      counts.dropped += wakes.length;
      return;
    }
    try {
      await within(hand(wakes), REDIS_TIMEOUT_MS);
      counts.sent += wakes.length;
    } catch (error) {
      counts.dropped += wakes.length;
      seldom(error, "a wake was not sent; the poll finds what it told of");
    }
  });

  return {
    outgoing,
    isFit: () => fit,
    async close() {
      await outgoing.flushed();
      await within(queue.close(), REDIS_TIMEOUT_MS).catch(() => undefined);
      client.disconnect();
    },
  };
}

/**
 * BullMQ on Redis 7. A wake is a job that one worker takes; the end of a task is published to all. Nothing here is
 * the authority: a job that is lost, kept twice or comes late changes when a task starts, and never whether.
 */
export function createRedisTransport(options: {
  url: string;
  log: Logger;
  onDead(dead: DeadWake): Promise<void>;
  prefix?: string;
}): Transport {
  const { url, log, onDead, prefix = "guildhall" } = options;
  const counts = noCounts();
  const parts: RedisParts = { url, log, prefix, seldom: createSeldom(log) };
  const sender = createRedisSender(parts, counts);
  let closed = false;
  let receiver: { stop(): Promise<void> } | undefined;

  return {
    name: "redis",
    counts,
    send(wake) {
      if (!closed) sender.outgoing.add(wake);
    },
    flushed: () => sender.outgoing.flushed(),
    listen(listener) {
      const made = createRedisReceiver({ ...parts, listener, counts, onDead });
      receiver = made;
      return {
        async stop() {
          if (receiver === made) receiver = undefined;
          await made.stop();
        },
      };
    },
    isConnected: () => sender.isFit(),
    async close() {
      closed = true;
      await receiver?.stop();
      await sender.close();
    },
  };
}

import { z } from "zod";
import type { Config } from "./platform/config.ts";
import type { Db } from "./platform/db.ts";
import type { Logger } from "./platform/log.ts";
import type { OutboxRow } from "./platform/outbox.ts";
import { keepDeadWake } from "./platform/transport/dead-wakes.ts";
import { createPostgresTransport } from "./platform/transport/postgres-transport.ts";
import type { DeadWake, Transport } from "./platform/transport/transport.ts";
import type { Worker } from "./tasks/execution/worker.ts";
import type { TaskBell } from "./tasks/tasks.ts";

/** Who executes runs in this process. */
export type LocalWorker = Pick<Worker, "wake" | "hasRoom" | "room" | "cancelled">;

/**
 * The bell of this process joined with those of the others. Work rings here when this process has room for it, else
 * elsewhere; the end of a task is told to all.
 */
export type WakeUp = {
  bell: TaskBell;
  /** There may be work that this process does not take. */
  passOn(): void;
  /** There may be work, for this process when it has room. */
  found(): void;
  /** What the outbox tells: rows are facts that were committed, and their tellers may have died before they rang. */
  relayed(rows: readonly OutboxRow[]): Promise<void>;
  /** From now on work may come here; `stop` before the worker drains. */
  serve(worker: LocalWorker): { stop(): Promise<void> };
  transport: Pick<Transport, "name" | "counts" | "isConnected">;
  close(): Promise<void>;
};

/** Topics of the outbox that concern workers only; every other one may have changed a limit. */
const WORK_TOPICS: ReadonlySet<string> = new Set(["run.ready", "slot.free", "task.ended"]);
const outboxPayload = z.object({ task_id: z.string().optional() });

/** Writes down a payload that fits no schema; the log has it in any case. */
async function keepDead(
  { db, log }: { db: Db; log: Logger },
  dead: Parameters<typeof keepDeadWake>[1],
): Promise<void> {
  await keepDeadWake(db, dead).catch((error: unknown) =>
    log.warn({ err: error }, "a payload that fits no schema was not written down"),
  );
}

/**
 * The transport that the settings choose. Throws `redis_eviction_policy`, `redis_too_old` and `redis_refused`; a Redis
 * that cannot be reached keeps nobody from starting.
 */
export async function openTransport(options: {
  config: Pick<Config, "REDIS_URL">;
  /** Of a role of the server itself, past any pooler. */
  listenUrl: string;
  db: Db;
  log: Logger;
}): Promise<Transport> {
  const { config, listenUrl, db, log } = options;
  const onDead = ({ transport: source, payload, reason }: DeadWake): Promise<void> =>
    keepDead({ db, log }, { source, payload, reason });
  const url = config.REDIS_URL?.reveal();
  if (url === undefined)
    return createPostgresTransport({ connectionString: listenUrl, log, onDead });
  // Loaded only where it is used: it is half a second of start.
  const { checkRedis } = await import("./platform/transport/redis-check.ts");
  const { createRedisTransport } = await import("./platform/transport/redis-transport.ts");
  const checked = await checkRedis(url);
  if (checked.status === "unreachable")
    log.warn({ why: checked.why }, "Redis cannot be reached; tasks start by the poll until it can");
  return createRedisTransport({ url, log, onDead });
}

export function createWakeUp(options: {
  transport: Transport;
  db: Db;
  log: Logger;
  /** A limit may have changed or a slot be free: for who wakes what waits for them. */
  onLimits?(): void;
  /** A task ended with the one that delegated it: for those who follow its events. */
  onEnded?(taskId: string): void;
}): WakeUp {
  const { transport, db, log } = options;
  let local: LocalWorker | undefined;

  function ready(taskIds: readonly string[], limits: boolean): void {
    if (limits) options.onLimits?.();
    local?.wake();
    if (local?.hasRoom() !== true) transport.send({ kind: "run_ready", taskIds });
  }

  function taskEnded(taskId: string): void {
    local?.cancelled(taskId);
    transport.send({ kind: "task_ended", taskIds: [taskId] });
  }

  return {
    transport,
    bell: {
      runReady: (taskId) => (taskId === undefined ? ready([], true) : ready([taskId], false)),
      taskEnded,
    },
    found: () => ready([], false),
    passOn: () => transport.send({ kind: "run_ready", taskIds: [] }),
    async relayed(rows) {
      const ids: string[] = [];
      for (const { topic, payload } of rows) {
        const parsed = outboxPayload.safeParse(payload);
        if (parsed.success) {
          const { task_id: taskId } = parsed.data;
          if (taskId !== undefined && topic === "run.ready") ids.push(taskId);
          if (taskId !== undefined && topic === "task.ended") {
            taskEnded(taskId);
            options.onEnded?.(taskId);
          }
          continue;
        }
        // It was said that there is something; the poll finds out what. Kept or not, the row must go.
        const text = JSON.stringify({ topic, payload });
        log.error({ topic, payload: text }, "an outbox row fits no schema and was put away");
        const reason = parsed.error.issues.map((issue) => issue.message).join("; ");
        await keepDead({ db, log }, { source: "outbox", payload: text, reason });
      }
      ready(
        ids,
        rows.some(({ topic }) => !WORK_TOPICS.has(topic)),
      );
    },
    serve(worker) {
      local = worker;
      // What comes while there is no room is one ring: a worker that is full for an hour must not keep all it was told.
      let waiting: Promise<void> | undefined;
      async function wakeWithRoom(): Promise<void> {
        await worker.room();
        waiting = undefined;
        worker.wake();
      }
      const listening = transport.listen({
        ready: () => (waiting ??= wakeWithRoom()),
        ended({ taskIds }) {
          for (const taskId of taskIds) worker.cancelled(taskId);
        },
      });
      return { stop: () => listening.stop() };
    },
    close: () => transport.close(),
  };
}

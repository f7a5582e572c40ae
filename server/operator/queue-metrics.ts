import type { Histogram, Registry } from "prom-client";
import type { Clock } from "../platform/clock.ts";
import type { Db } from "../platform/db.ts";
import type { Logger } from "../platform/log.ts";
import type { Transport } from "../platform/transport/transport.ts";
import type { WorkerFailures } from "../tasks/execution/worker-failures.ts";
import { type QueueLoad, workersWanted } from "../tasks/execution/workers-wanted.ts";
import { gauge, mirror } from "./metric-kinds.ts";

export type QueueMetricsDeps = {
  transport: Pick<Transport, "name" | "counts" | "isConnected">;
  /** Absent where no worker is in this process. */
  worker?: { startDelays: Histogram; running(): number; failures: WorkerFailures } | undefined;
  /** Runs that one worker of the installation executes at once. */
  runsPerWorker: number;
};

/** All open runs of the installation, by what they wait for. */
export type QueueDepth = QueueLoad & {
  byState: Readonly<Record<(typeof STATES)[number], number>>;
  dead: number;
};

const STATES = ["queued", "ready", "running", "delayed", "resting", "waiting", "paused"] as const;

/** However often somebody asks, the database is asked at most so often. */
const FRESH_MS = 5_000;
/** Counting goes on to here: a count of more runs would last seconds, and change no decision. */
const COUNTED_AT_MOST = 1_000_000;

/**
 * Of one workspace's queue `q` the runs that a worker could claim now, and since when the first of them has waited for
 * that: what it waited for a slot does not count.
 */
const readySql = `SELECT a.n AS admitted, w.n AS queued, least(a.since, CASE WHEN w.n > 0 THEN greatest(w.since, q.ready_since) END) AS since
  FROM (SELECT count(*) FILTER (WHERE r.state = 'admitted') AS n, min(r.queued_at) FILTER (WHERE r.state = 'admitted') AS since, count(*) AS slots_used
      FROM runs r WHERE r.workspace_id = q.workspace_id AND r.slot_no IS NOT NULL) a
    CROSS JOIN LATERAL (SELECT (SELECT count(*) FROM (SELECT FROM runs r WHERE r.workspace_id = q.workspace_id AND r.state = 'queued'
          LIMIT greatest(0, slots_of(q.workspace_id) - a.slots_used)) f) AS n,
        (SELECT r.queued_at FROM runs r WHERE r.workspace_id = q.workspace_id AND r.state = 'queued' ORDER BY r.turn_at, r.id LIMIT 1) AS since) w`;

/** Each part walks one partial index of open runs, so that it costs nothing for those that have ended. */
const depthSql = `SELECT
  greatest(0, queued.n - ready.queued) AS queued,
  (SELECT count(*) FROM runs WHERE state = 'claimed') AS running,
  ready.queued + ready.admitted AS ready, ready.oldest_ms, parked.*,
  (SELECT count(*) FROM tasks WHERE cause = 'attempts_exhausted') AS dead
FROM
  (SELECT count(*) AS n FROM (SELECT FROM runs WHERE state = 'queued' LIMIT ${COUNTED_AT_MOST}) q) queued,
  (SELECT coalesce(sum(r.queued), 0)::bigint AS queued, coalesce(sum(r.admitted), 0)::bigint AS admitted,
      coalesce(floor(extract(epoch FROM clock_now() - min(r.since)) * 1000), 0)::bigint AS oldest_ms
    FROM run_queues q CROSS JOIN LATERAL (${readySql}) r WHERE q.ready) ready,
  (SELECT count(*) FILTER (WHERE t.state = 'queued') AS delayed, count(*) FILTER (WHERE t.state = 'running') AS resting,
      count(*) FILTER (WHERE t.state = 'waiting') AS waiting, count(*) FILTER (WHERE t.state = 'paused') AS paused
    FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.task_id WHERE r.state = 'parked' AND r.wake_at IS NOT NULL) parked`;

type Row = Record<(typeof STATES)[number], number> & { oldest_ms: number; dead: number };

export async function readQueueDepth(db: Db): Promise<QueueDepth> {
  const [row] = await db.withPlatform((tx) => tx.query<Row>({ text: depthSql, values: [] }));
  const byState = Object.fromEntries(STATES.map((state) => [state, row?.[state] ?? 0])) as Record<
    (typeof STATES)[number],
    number
  >;
  return {
    byState,
    running: byState.running,
    ready: byState.ready,
    oldestReadyMs: Math.max(0, row?.oldest_ms ?? 0),
    dead: row?.dead ?? 0,
  };
}

/** Asks at most every few seconds. -> undefined while the database does not answer */
function createFreshDepth(deps: { db: Db; clock: Clock; log: Logger }) {
  let last: { atMs: number; depth: Promise<QueueDepth | undefined> } | undefined;
  return (): Promise<QueueDepth | undefined> => {
    const nowMs = deps.clock.monotonicMs();
    if (last === undefined || nowMs - last.atMs >= FRESH_MS) {
      const depth = readQueueDepth(deps.db).catch((error: unknown) => {
        deps.log.warn({ err: error }, "the queue could not be counted for the metrics");
        last = undefined;
        return undefined;
      });
      last = { atMs: nowMs, depth };
    }
    return last.depth;
  };
}

function addWakeMetrics(registry: Registry, { transport }: QueueMetricsDeps): void {
  const { name, counts } = transport;
  mirror(
    registry,
    {
      name: "guildhall_wakes_total",
      help: "Messages of the bell between processes: sent, dropped because it was away, received, of another release, put away because they fit no schema",
      labels: ["transport", "outcome"],
    },
    () => [
      [{ transport: name, outcome: "sent" }, counts.sent],
      [{ transport: name, outcome: "dropped" }, counts.dropped],
      [{ transport: name, outcome: "received" }, counts.received],
      [{ transport: name, outcome: "other_version" }, counts.otherVersion],
      [{ transport: name, outcome: "dead" }, counts.dead],
    ],
  );
  gauge(
    registry,
    {
      name: "guildhall_wake_transport_up",
      help: "1: the bell between processes works; 0: tasks start by the poll",
      labels: ["transport"],
    },
    () => [[{ transport: name }, transport.isConnected() ? 1 : 0]],
  );
}

function addWorkerMetrics(registry: Registry, { worker }: QueueMetricsDeps): void {
  if (worker === undefined) return;
  registry.registerMetric(worker.startDelays);
  gauge(
    registry,
    { name: "guildhall_worker_running", help: "Runs that the worker of this process executes" },
    () => [[{}, worker.running()]],
  );
  mirror(
    registry,
    {
      name: "guildhall_worker_failures_total",
      help: "How often the worker of this process could not claim runs, or extend the leases of those that it executes, and tried again",
      labels: ["what"],
    },
    () => Object.entries(worker.failures).map(([what, { times }]) => [{ what }, times]),
  );
}

/** The queue of the installation, and this process's part in it. */
export function addQueueMetrics(
  registry: Registry,
  deps: QueueMetricsDeps & { db: Db; clock: Clock; log: Logger },
): void {
  const depth = createFreshDepth(deps);
  const figure = (name: string, help: string, read: (depth: QueueDepth) => number): void =>
    gauge(registry, { name, help }, async () => {
      const now = await depth();
      return now === undefined ? [] : [[{}, read(now)]];
    });
  gauge(
    registry,
    {
      name: "guildhall_queue_depth",
      help: "Open runs of the installation: queued for a slot of their workspace, ready for a worker, running, delayed to their start, resting between attempts, waiting, paused at a limit",
      labels: ["state"],
    },
    async () => Object.entries((await depth())?.byState ?? {}).map(([state, n]) => [{ state }, n]),
  );
  figure(
    "guildhall_queue_oldest_ready_seconds",
    "How long the run has waited that waits longest for a worker, of those that are next in their workspaces",
    ({ oldestReadyMs }) => oldestReadyMs / 1_000,
  );
  figure(
    "guildhall_dead_tasks",
    "Tasks that failed because every attempt did, and can be replayed",
    ({ dead }) => dead,
  );
  figure(
    "guildhall_workers_wanted",
    "How many workers would have room for all that could run now; for autoscalers",
    (now) => workersWanted(now, deps.runsPerWorker),
  );
  addWakeMetrics(registry, deps);
  addWorkerMetrics(registry, deps);
}

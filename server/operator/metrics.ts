import { collectDefaultMetrics, Registry } from "prom-client";
import type { Gateway } from "../gateway/gateway.ts";
import type { Clock } from "../platform/clock.ts";
import type { Db } from "../platform/db.ts";
import type { JobFailures } from "../platform/job-failures.ts";
import type { Logger } from "../platform/log.ts";
import { standardErrorLog } from "../platform/log-destination.ts";
import type { Checker } from "./check/checker.ts";
import { gauge, mirror } from "./metric-kinds.ts";
import { addQueueMetrics, type QueueMetricsDeps } from "./queue-metrics.ts";
import type { ReconcileTotals } from "./reconcile.ts";

export type Metrics = {
  contentType: string;
  /** The Prometheus text of this moment. */
  text(): Promise<string>;
};

export type MetricsDeps = {
  /** Of this process, if it is one. */
  gateway: Pick<Gateway, "counts" | "openCalls" | "pendingSettlements"> | undefined;
  /** Of this process, if it is a scheduler; then the figures of the whole installation come with it. */
  checker: Pick<Checker, "state"> | undefined;
  /** Undefined where no provider's report can be had. */
  reconciled: ReconcileTotals | undefined;
  failures: Pick<JobFailures, "times">;
  queue: QueueMetricsDeps;
  db: Db;
  clock: Clock;
  log: Logger;
};

type OpenHolds = { holds: number; nanoUsd: number };

/** However often somebody asks, the database is asked at most so often. */
const OPEN_HOLDS_FRESH_MS = 5_000;

function addGatewayMetrics(registry: Registry, { gateway }: MetricsDeps): void {
  if (gateway === undefined) return;
  const { counts } = gateway;
  mirror(
    registry,
    {
      name: "guildhall_gateway_admissions_total",
      help: "Model calls by the answer to whether they may start",
      labels: ["outcome"],
    },
    () => Object.entries(counts.admissions).map(([outcome, n]) => [{ outcome }, n]),
  );
  mirror(
    registry,
    {
      name: "guildhall_gateway_calls_total",
      help: "Upstream attempts by how they ended: charged by usage, not billed, or charged as held because the outcome is unknown",
      labels: ["outcome"],
    },
    () => Object.entries(counts.attempts).map(([outcome, n]) => [{ outcome }, n]),
  );
  mirror(
    registry,
    {
      name: "guildhall_gateway_refusals_total",
      help: "Requests that were answered with an error, by status and code",
      labels: ["status", "code"],
    },
    () =>
      [...counts.refusals].map(([kind, n]) => {
        const [status = "", code = ""] = kind.split(" ");
        return [{ status, code }, n];
      }),
  );
  mirror(
    registry,
    {
      name: "guildhall_overrun_nano_usd_total",
      help: "What the provider charged beyond holds, which the platform bears; above 0 a price or a bound is wrong",
    },
    () => [[{}, counts.overrunNanoUsd]],
  );
  gauge(
    registry,
    {
      name: "guildhall_gateway_open_calls",
      help: "Calls between their first byte and their settlement",
    },
    () => [[{}, gateway.openCalls()]],
  );
  gauge(
    registry,
    {
      name: "guildhall_settlements_pending",
      help: "Holds whose end is not in the database yet",
    },
    () => [[{}, gateway.pendingSettlements()]],
  );
}

function addHoldMetrics(registry: Registry, { checker, db, clock, log }: MetricsDeps): void {
  // One figure of all gateways, which must not be told by each process.
  if (checker === undefined) return;
  let last: { atMs: number; open: OpenHolds } | undefined;

  async function openHolds(): Promise<OpenHolds | undefined> {
    const nowMs = clock.monotonicMs();
    if (last !== undefined && nowMs - last.atMs < OPEN_HOLDS_FRESH_MS) return last.open;
    try {
      const [row] = await db.withPlatform((tx) =>
        tx.query<{ holds: number; nano_usd: number }>({
          text: `SELECT count(*) AS holds, coalesce(sum(amount), 0)::bigint AS nano_usd FROM holds WHERE state IN ('HELD', 'DISPATCHED')`,
          values: [],
        }),
      );
      const open = { holds: row?.holds ?? 0, nanoUsd: row?.nano_usd ?? 0 };
      last = { atMs: nowMs, open };
      return open;
    } catch (error) {
      // The other figures are wanted most when the database is away.
      log.warn({ err: error }, "the open holds could not be counted for the metrics");
      return undefined;
    }
  }

  gauge(
    registry,
    { name: "guildhall_open_holds", help: "Holds that have not ended, of all gateways" },
    async () => {
      const open = await openHolds();
      return open === undefined ? [] : [[{}, open.holds]];
    },
  );
  gauge(registry, { name: "guildhall_open_hold_nano_usd", help: "What those hold" }, async () => {
    const open = await openHolds();
    return open === undefined ? [] : [[{}, open.nanoUsd]];
  });
}

function addCheckMetrics(registry: Registry, { checker, clock }: MetricsDeps): void {
  if (checker === undefined) return;
  gauge(
    registry,
    {
      name: "guildhall_ledger_law_ok",
      help: "1: the continuous check has found nothing in the last hour; 0: the law is broken",
      labels: ["law"],
    },
    () => [...checker.state().laws].map(([law, ok]) => [{ law }, ok ? 1 : 0]),
  );
  gauge(
    registry,
    {
      name: "guildhall_ledger_check_age_seconds",
      help: "Time since the last complete pass of the continuous check; NaN before the first",
    },
    () => {
      const { endedAtMs } = checker.state();
      return endedAtMs === undefined ? [] : [[{}, (clock.monotonicMs() - endedAtMs) / 1_000]];
    },
  );
  gauge(
    registry,
    { name: "guildhall_ledger_check_duration_seconds", help: "How long the last pass took" },
    () => {
      const { endedAtMs, durationMs } = checker.state();
      return endedAtMs === undefined ? [] : [[{}, durationMs / 1_000]];
    },
  );
}

function addReconcileMetrics(registry: Registry, { reconciled }: MetricsDeps): void {
  if (reconciled === undefined) return;
  mirror(
    registry,
    {
      name: "guildhall_reconciled_total",
      help: "Provisional charges that were resolved: by the provider's report, or because it never saw the call",
      labels: ["by"],
    },
    () => [
      [{ by: "report" }, reconciled.reported],
      [{ by: "absence" }, reconciled.neverSeen],
    ],
  );
  mirror(
    registry,
    { name: "guildhall_reconciled_nano_usd_total", help: "What was taken off those charges" },
    () => [[{}, reconciled.loweredNanoUsd]],
  );
  gauge(
    registry,
    {
      name: "guildhall_provisional_holds",
      help: "Provisional charges that the last round of the reconcile job could not resolve",
    },
    () => [[{}, reconciled.unresolved]],
  );
}

/** The figures of this process. They are read when somebody asks; nothing is done for them while calls are served. */
export function createMetrics(deps: MetricsDeps): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  mirror(
    registry,
    {
      name: "guildhall_log_lines_lost_total",
      help: "Log lines that were lost because standard error took nothing more, most likely a full disk",
    },
    () => [[{}, standardErrorLog().lost()]],
  );
  mirror(
    registry,
    {
      name: "guildhall_job_failures_total",
      help: "How often a job that this process does again and again failed, and was left to its next time",
      labels: ["job"],
    },
    () => [...deps.failures.times].map(([job, n]) => [{ job }, n]),
  );
  addGatewayMetrics(registry, deps);
  addHoldMetrics(registry, deps);
  addCheckMetrics(registry, deps);
  addReconcileMetrics(registry, deps);
  addQueueMetrics(registry, { ...deps, ...deps.queue });
  return { contentType: registry.contentType, text: () => registry.metrics() };
}

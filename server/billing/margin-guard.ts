import type { Config } from "../platform/config.ts";
import type { Db } from "../platform/db.ts";
import type { Logger } from "../platform/log.ts";
import {
  allowedCost,
  costOf,
  decide,
  type GuardRule,
  type OperatorRates,
  revenueOf,
} from "./margin.ts";
import {
  type FigureRow,
  type MarginRow,
  readFigures,
  setGuarded,
  storeMargins,
  takeMeasureLock,
} from "./margin-queries.ts";

export type MarginGuard = {
  /** Measures every workspace and stores the figures; pauses and lifts nobody. */
  refresh(): Promise<void>;
  /** Measures every workspace, stores the figures, and pauses or lifts. */
  measure(): Promise<void>;
  /** The same for those that are working right now, without adding up their files; nothing when the guard is off. */
  watch(): Promise<void>;
};

/** The operator's settings. */
export function marginRules(
  config: Pick<
    Config,
    | "AGENT_SECOND_NANO_USD"
    | "STORAGE_GIB_MONTH_NANO_USD"
    | "MARGIN_GUARD_PERCENT"
    | "MARGIN_GUARD_GRACE_NANO_USD"
  >,
): { rates: OperatorRates; rule: GuardRule } {
  return {
    rates: {
      agentSecondNanoUsd: config.AGENT_SECOND_NANO_USD,
      storageGibMonthNanoUsd: config.STORAGE_GIB_MONTH_NANO_USD,
    },
    rule: {
      leastMarginPercent: config.MARGIN_GUARD_PERCENT,
      graceNanoUsd: config.MARGIN_GUARD_GRACE_NANO_USD,
    },
  };
}

const BYTES_PER_MIB = 1_048_576;

function toMargin(row: FigureRow, rates: OperatorRates, rule: GuardRule): MarginRow {
  // Overrun has no month: what the account had when the month began is taken off.
  const overrunBefore = row.overrun_before ?? (row.measured_before ? row.overrun : 0);
  const storageMibS =
    (row.storage_mib_s ?? 0) +
    Math.ceil(row.storage_bytes / BYTES_PER_MIB) * Math.max(0, row.elapsed_s ?? 0);
  const use = {
    modelCostNanoUsd: row.posted + row.overrun - overrunBefore,
    agentTimeMs: row.agent_time_ms,
    storageMibS,
    period: row.period,
  };
  const cost = costOf(use, rates);
  const terms = {
    modelCostNanoUsd: { included: row.cost_included, overage: row.cost_overage },
    agentTimeMs: { included: row.agent_time_included, overage: row.agent_time_overage },
  };
  // Overrun is the platform's own: nobody is billed for it.
  const revenue = revenueOf(row.plan, { ...use, modelCostNanoUsd: row.posted }, terms);
  return {
    workspace_id: row.workspace_id,
    period: row.period,
    plan: row.plan,
    revenue,
    model_cost: cost.modelNanoUsd,
    held: row.held,
    agent_time_ms: row.agent_time_ms,
    agent_cost: cost.agentNanoUsd,
    storage_bytes: row.storage_bytes,
    storage_mib_s: storageMibS,
    storage_cost: cost.storageNanoUsd,
    overrun_before: overrunBefore,
    allowed: allowedCost(row.plan, revenue, rule),
  };
}

type Decision = { workspaceId: string; period: string; pausedHeldNanoUsd: number | null };

function toDecision(row: FigureRow, margin: MarginRow): Decision | undefined {
  const decided = decide({
    costNanoUsd: margin.model_cost + margin.agent_cost + margin.storage_cost,
    heldNanoUsd: row.held,
    allowedNanoUsd: margin.allowed,
    suspended: row.suspended,
    pausedHeldNanoUsd: row.paused_held,
  });
  if (decided === "stay") return undefined;
  return {
    workspaceId: row.workspace_id,
    period: row.period,
    pausedHeldNanoUsd: decided === "pause" ? row.held : null,
  };
}

/**
 * Holds what workspaces cost against what they bring in, and pauses one whose cost would exceed what the operator's
 * rule allows, before it does. It lifts what it paused, never what the operator suspended.
 */
export function createMarginGuard(deps: {
  db: Db;
  log: Logger;
  rates: OperatorRates;
  rule: GuardRule;
}): MarginGuard {
  const { db, log, rates, rule } = deps;

  function figures(busyOnly: boolean): Promise<Decision[]> {
    return db.withPlatform(async (tx) => {
      const [lock] = await tx.query<{ taken: boolean }>(takeMeasureLock);
      if (lock?.taken !== true) return [];
      const rows = await readFigures(tx, busyOnly);
      const measured = rows.map((row) => ({ row, margin: toMargin(row, rates, rule) }));
      if (measured.length > 0)
        await storeMargins(
          tx,
          measured.map(({ margin }) => margin),
          busyOnly,
        );
      return measured.flatMap(({ row, margin }) => toDecision(row, margin) ?? []);
    });
  }

  async function round(busyOnly: boolean): Promise<void> {
    for (const decision of await figures(busyOnly)) {
      const changed = await db.withPlatform((tx) => setGuarded(tx, decision));
      const { workspaceId } = decision;
      if (changed && decision.pausedHeldNanoUsd !== null)
        log.warn({ workspace_id: workspaceId }, "the margin guard paused a workspace");
      else if (changed) log.info({ workspace_id: workspaceId }, "the margin guard lets one go on");
    }
  }

  return {
    async refresh() {
      await figures(false);
    },
    measure: () => round(false),
    async watch() {
      if (rule.leastMarginPercent !== undefined) await round(true);
    },
  };
}

import { type PlanName, plans } from "../ledger/plans.ts";

/** What the operator pays for, beside the model. */
export type OperatorRates = {
  /** nano-USD per second of agent time. */
  agentSecondNanoUsd: number;
  /** nano-USD per GiB kept for a month. */
  storageGibMonthNanoUsd: number;
};

/** What a workspace has used of one month so far. */
export type MonthUse = {
  /** Charged by the model provider, what went beyond holds included; nano-USD. */
  modelCostNanoUsd: number;
  agentTimeMs: number;
  /** MiB times seconds that they were kept. */
  storageMibS: number;
  /** UTC month such as 2026-11. */
  period: string;
};

export type MonthCost = { modelNanoUsd: number; agentNanoUsd: number; storageNanoUsd: number };

const MIB_PER_GIB = 1_024n;

function secondsOf(period: string): bigint {
  const [year = 0, month = 1] = period.split("-").map(Number);
  return BigInt((Date.UTC(year, month, 1) - Date.UTC(year, month - 1, 1)) / 1_000);
}

/** Rounds up: what is paid for in part was paid for. */
const ceilDiv = (a: bigint, b: bigint): number => Number((a + b - 1n) / b);

/** What the month's use costs the operator. */
export function costOf(use: MonthUse, rates: OperatorRates): MonthCost {
  const storageUnits = MIB_PER_GIB * secondsOf(use.period);
  return {
    modelNanoUsd: use.modelCostNanoUsd,
    agentNanoUsd: ceilDiv(BigInt(use.agentTimeMs) * BigInt(rates.agentSecondNanoUsd), 1_000n),
    storageNanoUsd: ceilDiv(
      BigInt(use.storageMibS) * BigInt(rates.storageGibMonthNanoUsd),
      storageUnits,
    ),
  };
}

/** Price of agent-minutes above the plan: nano-USD per minute, by how many there are of them in the month. */
const MINUTE_MS = 60_000n;
const agentTimeTiers: readonly { upToMinutes: bigint | null; minuteNanoUsd: bigint }[] = [
  { upToMinutes: 10_000n, minuteNanoUsd: 10_000_000n },
  { upToMinutes: 100_000n, minuteNanoUsd: 8_000_000n },
  { upToMinutes: null, minuteNanoUsd: 6_000_000n },
];

/** What agent time above the plan is billed at, each tier at its own price; rounded down. */
export function agentTimeOverageNanoUsd(aboveMs: number): number {
  let left = BigInt(aboveMs);
  let begun = 0n;
  let total = 0n;
  for (const { upToMinutes, minuteNanoUsd } of agentTimeTiers) {
    const room = upToMinutes === null ? left : (upToMinutes - begun) * MINUTE_MS;
    const part = left < room ? left : room;
    total += part * minuteNanoUsd;
    left -= part;
    begun = upToMinutes ?? begun;
  }
  return Number(total / MINUTE_MS);
}

/** What a workspace may use of a meter: what is included, by plan or contract (null: without end), and the overage beyond it that was opted in to. */
export type Terms = { included: number | null; overage: number };
export type MonthTerms = { modelCostNanoUsd: Terms; agentTimeMs: Terms };

/** The use beyond what is included that is billed: as far as somebody opted in to it. */
function billed(used: number, { included, overage }: Terms): number {
  return included === null ? 0 : Math.min(Math.max(0, used - included), overage);
}

/** What the month brings in: the plan's price, and the billed use above it. Model cost is billed as it is. */
export function revenueOf(planName: PlanName, use: MonthUse, terms: MonthTerms): number {
  const plan = plans[planName];
  const modelCost = billed(use.modelCostNanoUsd, terms.modelCostNanoUsd);
  const agentTime = billed(use.agentTimeMs, terms.agentTimeMs);
  return plan.priceNanoUsd + modelCost + agentTimeOverageNanoUsd(agentTime);
}

export type GuardRule = {
  /** The part of the revenue that is to be left, percent; undefined: the guard is off. */
  leastMarginPercent: number | undefined;
  /** Up to here a month may cost whatever it brings in: what the operator gives away, the free plan first of all. */
  graceNanoUsd: number;
};

/**
 * The cost up to which a workspace may go on. null: not guarded, since there is no rule, or since the plan has no
 * numbers of its own, so that nobody here knows what it brings in (own installation, contract).
 */
export function allowedCost(
  planName: PlanName,
  revenueNanoUsd: number,
  rule: GuardRule,
): number | null {
  if (rule.leastMarginPercent === undefined || plans[planName].modelCostNanoUsd === null)
    return null;
  const part = (BigInt(revenueNanoUsd) * BigInt(100 - rule.leastMarginPercent)) / 100n;
  return Math.max(rule.graceNanoUsd, Number(part));
}

export type GuardState = {
  costNanoUsd: number;
  /** What open calls may still cost. */
  heldNanoUsd: number;
  allowedNanoUsd: number | null;
  /** The workspace's reason code. */
  suspended: string | null;
  /** What was held when the guard paused in this month; null when it did not. */
  pausedHeldNanoUsd: number | null;
};

/**
 * Open calls count in full, so that a workspace is paused before its cost is beyond what is allowed, not after. When
 * they return, it goes on only if as much could be held again: else it would be paused and let go with each call.
 */
export function decide(state: GuardState): "pause" | "lift" | "stay" {
  const { costNanoUsd, heldNanoUsd, allowedNanoUsd, suspended } = state;
  if (suspended === null)
    return allowedNanoUsd !== null && costNanoUsd + heldNanoUsd > allowedNanoUsd ? "pause" : "stay";
  if (suspended !== "margin_guard") return "stay";
  if (allowedNanoUsd === null) return "lift";
  const wouldHold = Math.max(heldNanoUsd, state.pausedHeldNanoUsd ?? 0);
  return costNanoUsd + wouldHold <= allowedNanoUsd ? "lift" : "stay";
}

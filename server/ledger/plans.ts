import type { planMeters } from "@guildhall/sdk/contract/plan.ts";

/** What a plan includes. Monthly unless said otherwise; null is no number of the plan's own. Operators may edit this table. */
export type Plan = {
  /** Subscription per month, nano-USD. */
  priceNanoUsd: number;
  agentTimeMs: number | null;
  modelCostNanoUsd: number | null;
  concurrentTasks: number | null;
  apiRequestsPerHour: number | null;
  members: number | null;
  /** Its share while workers are scarce: with twice the weight tasks start twice as often. From 1. */
  weight: number;
};

export const planNames = ["free", "starter", "pro", "enterprise", "self_hosted"] as const;
export type PlanName = (typeof planNames)[number];

const MINUTE_MS = 60_000;
const USD = 1_000_000_000;

const withoutLimits: Plan = {
  priceNanoUsd: 0,
  agentTimeMs: null,
  modelCostNanoUsd: null,
  concurrentTasks: null,
  apiRequestsPerHour: null,
  members: null,
  weight: 1,
};

/** `enterprise` has its numbers by contract, `self_hosted` only the budgets that its owner sets: both start without any. */
export const plans: Readonly<Record<PlanName, Plan>> = {
  free: {
    priceNanoUsd: 0,
    agentTimeMs: 1_000 * MINUTE_MS,
    modelCostNanoUsd: USD / 2,
    concurrentTasks: 1,
    apiRequestsPerHour: 100,
    members: 1,
    weight: 1,
  },
  starter: {
    priceNanoUsd: 49 * USD,
    agentTimeMs: 10_000 * MINUTE_MS,
    modelCostNanoUsd: 5 * USD,
    concurrentTasks: 3,
    apiRequestsPerHour: 1_000,
    members: 5,
    weight: 2,
  },
  pro: {
    priceNanoUsd: 149 * USD,
    agentTimeMs: 100_000 * MINUTE_MS,
    modelCostNanoUsd: 20 * USD,
    concurrentTasks: 10,
    apiRequestsPerHour: 10_000,
    members: 20,
    weight: 4,
  },
  enterprise: { ...withoutLimits, weight: 8 },
  self_hosted: withoutLimits,
};

/** What a plan limits, per workspace. */
export type PlanMeter = (typeof planMeters)[number];

/** One limit of a workspace. amount: nano-USD, milliseconds or a count, by meter; null is no limit. */
export type PlanLimit = { meter: PlanMeter; level: "workspace"; amount: number | null };

/** What a plan includes, as limits of a workspace. */
export function planLimits(plan: PlanName): PlanLimit[] {
  const numbers = plans[plan];
  return [
    { meter: "model_cost", level: "workspace", amount: numbers.modelCostNanoUsd },
    { meter: "agent_time", level: "workspace", amount: numbers.agentTimeMs },
    { meter: "concurrent_tasks", level: "workspace", amount: numbers.concurrentTasks },
    { meter: "api_requests", level: "workspace", amount: numbers.apiRequestsPerHour },
    { meter: "members", level: "workspace", amount: numbers.members },
  ];
}

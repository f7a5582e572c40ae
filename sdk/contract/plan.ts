import { z } from "zod";

/** What a plan has numbers for. */
export const planMeters = [
  "model_cost",
  "agent_time",
  "concurrent_tasks",
  "api_requests",
  "members",
] as const;

/** What can be used beyond what is included, once it is opted in to. */
export const overageMeters = ["model_cost", "agent_time"] as const;

/**
 * What the workspace's own limit of one meter follows from, in units of the meter: the lesser of `own_cap` and (`agreed`,
 * where there is one, or else `included`, plus `overage`).
 */
export const planTermSchema = z.object({
  meter: z.enum(planMeters),
  /** The plan's number; null is none. */
  included: z.int().nullable(),
  /** What was agreed with the operator in place of the plan's number; its `amount` is null for no limit. */
  agreed: z.object({ amount: z.int().nullable() }).nullable(),
  /** Opted in to beyond that, a month; 0 is none. */
  overage: z.int(),
  /** Overage can be opted in to: the meter has one, and an amount is included. */
  overage_possible: z.boolean(),
  /** What the workspace allows itself; null is all that it may have. */
  own_cap: z.int().nullable(),
  /** The most that the workspace may allow itself; null is no limit. */
  most: z.int().nullable(),
  /** The limit in force; null is none. */
  in_force: z.int().nullable(),
  /** Grows with each change of the terms; 0 when there was none. */
  version: z.int(),
  /** `user:usr_…`, `key:key_…`, `operator` or a part of the program; null at version 0. */
  changed_by: z.string().nullable(),
  changed_at: z.string().nullable(),
});
export type PlanTerm = z.infer<typeof planTermSchema>;

/** Body of `GET /v1/plan`. */
export const planSchema = z.object({
  plan: z.string(),
  /** Subscription per month, nano-USD. */
  price_nano_usd: z.int(),
  terms: z.array(planTermSchema),
});
export type WorkspacePlan = z.infer<typeof planSchema>;

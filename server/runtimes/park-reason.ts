import { limitStopSchema } from "@guildhall/sdk/contract/limit.ts";
import type { Parked } from "@guildhall/sdk/contract/task.ts";
import { z } from "zod";

/** A limit that says no, before it is known what its scope is called and who may raise it. */
export const reachedLimitSchema = z.object({
  status: limitStopSchema.shape.status,
  meter: limitStopSchema.shape.meter,
  level: limitStopSchema.shape.level,
  scope_id: z.string(),
  period: z.string(),
  limit: z.int(),
  posted: z.int(),
  held: z.int(),
  needed: z.int(),
});
export type ReachedLimit = z.infer<typeof reachedLimitSchema>;

/** Why a runtime cannot go on. Names and rights are added where the run is parked. */
export type ParkReason =
  | Exclude<Parked, { kind: "limit" | "unpriced" | "suspended" }>
  | ({ kind: "limit" } & ReachedLimit)
  | { kind: "unpriced"; model: string }
  | { kind: "suspended"; reason: string };

/** A task that has made all the calls it may make. */
export function callsUsedUp(used: {
  meter: "model_calls" | "tool_calls";
  taskId: string;
  limit: number;
}): ParkReason {
  const { meter, taskId, limit } = used;
  return {
    kind: "limit",
    status: "exhausted",
    meter,
    level: "task",
    scope_id: taskId,
    period: "all",
    limit,
    posted: limit,
    held: 0,
    needed: 1,
  };
}

import type { LimitMeter } from "@guildhall/sdk/contract/limit.ts";
import { formatCost, formatLimit } from "../format/money.ts";
import { formatBytes, formatCount } from "../format/number.ts";
import { formatDuration } from "../format/time.ts";

/** What was used of a meter, in its unit. */
export function meterAmount(meter: LimitMeter, amount: number): string {
  if (meter === "model_cost") return formatCost(amount);
  if (meter === "storage_bytes") return formatBytes(amount);
  return meter === "agent_time" ? formatDuration(amount) : formatCount(amount);
}

/** A limit of a meter: money is cut off rather than rounded. */
export function meterLimit(meter: LimitMeter, amount: number): string {
  return meter === "model_cost" ? formatLimit(amount) : meterAmount(meter, amount);
}

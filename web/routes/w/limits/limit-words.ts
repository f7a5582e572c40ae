import type { LimitLevel, LimitMeter, LimitRow } from "@guildhall/sdk/contract/limit.ts";
import { formatPercent } from "../../../format/number.ts";
import { formatPeriod, formatUtcMinute } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";

type Scope = { level: LimitLevel; scope_id: string; scope_name: string | null };

/** The id under which the server tells what every new task starts with. */
export const EACH_NEW_TASK = "*";

/** Whose limit it is: "Sable Chen", "This workspace", "Each new task". */
export function scopeName(scope: Scope): string {
  if (scope.level === "workspace") return t("limits.group.workspace");
  if (scope.scope_id === EACH_NEW_TASK) return t("limits.eachNewTask");
  return scope.scope_name ?? t(`limit.level.${scope.level}`);
}

export function meterName(meter: LimitMeter): string {
  return t(`meter.${meter}`);
}

/** Whose and what, for names of buttons: "Sable Chen, Model cost". */
export function rowName(row: Scope & { meter: LimitMeter }): string {
  return `${scopeName(row)}, ${meterName(row.meter)}`;
}

/** In which time it counts, and when that starts again. */
export function windowText(row: LimitRow): string {
  const at = row.resets_at === null ? "" : formatUtcMinute(row.resets_at);
  switch (row.window) {
    case "day":
      return t("limits.window.day", { at });
    case "month":
      return t("limits.window.month", { month: formatPeriod(row.period), at });
    default:
      return t(`limits.window.${row.window}`);
  }
}

export function statusText(row: LimitRow): string {
  const { status, used, held, max } = row;
  if (status === "ok" || status === "stopped") return t(`limits.status.${status}`);
  const isSeats = row.on_hit === "queue" || row.on_hit === "refuse";
  if (max !== null && used >= max && isSeats) return t("limits.status.full");
  return t(`limits.status.${status}`, {
    part: formatPercent(max === null || max === 0 ? 1 : (used + held) / max),
  });
}

const aboveLevels: readonly LimitLevel[] = ["run", "owner", "platform"];

export const limitGroups = ["workspace", "agent", "task", "key", "above"] as const;
export type LimitGroup = (typeof limitGroups)[number];

export function isInGroup(row: LimitRow, group: LimitGroup): boolean {
  return group === "above" ? aboveLevels.includes(row.level) : row.level === group;
}

import type { Alert } from "@guildhall/sdk/contract/alert.ts";
import { formatPercent } from "../format/number.ts";
import { t } from "../messages/translate.ts";
import { meterLimit } from "./meter-amount.ts";

type Threshold = "used" | "reached" | "demand";

function thresholdOf(alert: Alert): Threshold {
  if (alert.kind === "demand") return "demand";
  return alert.percent >= 100 ? "reached" : "used";
}

/** What an alert says, in one sentence: "Agent Gray, model budget: 80 % of $5.00 used". */
export function alertText(alert: Alert): string {
  const level = t(`limit.level.${alert.level}`);
  const whose = alert.scope_name === null ? level : `${level} “${alert.scope_name}”,`;
  const params = {
    whose,
    meter: t(`alerts.meter.${alert.meter}`),
    percent: formatPercent(alert.percent / 100),
  };
  const threshold = thresholdOf(alert);
  if (alert.limit === null) return t(`alerts.shared.${threshold}`, params);
  return t(`alerts.${threshold}`, { ...params, limit: meterLimit(alert.meter, alert.limit) });
}

/** A task that nears its own cap is in the list; only one that is stopped by it is worth an interruption. */
export function interrupts(alert: Alert): boolean {
  return alert.level !== "task" || alert.percent >= 100;
}

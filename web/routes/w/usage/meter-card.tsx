import type { Usage } from "@guildhall/sdk/contract/workspace.ts";
import { formatCost, formatLimit } from "../../../format/money.ts";
import { formatCount } from "../../../format/number.ts";
import { formatDateTime, formatDuration } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import { MeterBar } from "../../../ui/meter-bar.tsx";
import styles from "./usage-page.module.css";

type Meter = Usage["meters"][number];

const units: Readonly<
  Record<Meter["meter"], { amount: (value: number) => string; limit: (value: number) => string }>
> = {
  model_cost: { amount: formatCost, limit: formatLimit },
  agent_time: { amount: formatDuration, limit: formatDuration },
  concurrent_tasks: { amount: formatCount, limit: formatCount },
  api_requests: { amount: formatCount, limit: formatCount },
  members: { amount: formatCount, limit: formatCount },
};

/** One meter: used and reserved against its limit, and when it starts again. */
export function MeterCard({ meter }: { meter: Meter }) {
  const unit = units[meter.meter];
  const amounts = {
    used: unit.amount(meter.used),
    held: unit.amount(meter.held),
    limit: meter.limit === null ? t("budget.noLimit") : unit.limit(meter.limit),
  };
  return (
    <li className={`panel ${styles["meter"]}`}>
      <h2>{t(`meter.${meter.meter}`)}</h2>
      <p className={`money ${styles["amount"]}`}>
        {amounts.used}
        <span className="dim"> / {amounts.limit}</span>
      </p>
      {meter.limit !== null && (
        <MeterBar
          used={meter.used}
          held={meter.held}
          limit={meter.limit}
          label={t("cost.label", amounts)}
        />
      )}
      {meter.held > 0 && <p className="dim">{t("usage.held", { held: amounts.held })}</p>}
      {meter.resets_at !== null && (
        <p className="dim">{t("usage.resets", { at: formatDateTime(meter.resets_at) })}</p>
      )}
    </li>
  );
}

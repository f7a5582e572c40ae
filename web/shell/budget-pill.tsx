import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { CircleAlert, Coins, OctagonX, TriangleAlert, type LucideIcon } from "lucide-react";
import { usageQuery } from "../api/queries.ts";
import { formatCost, formatLimit } from "../format/money.ts";
import { formatPercent } from "../format/number.ts";
import { t } from "../messages/translate.ts";
import { MeterBar, meterTone, type MeterTone } from "../ui/meter-bar.tsx";
import styles from "./budget-pill.module.css";

const icons: Readonly<Record<MeterTone, LucideIcon>> = {
  calm: Coins,
  warn: TriangleAlert,
  high: CircleAlert,
  stopped: OctagonX,
};

/** The workspace's model budget, on every page: spent and reserved against the limit. Leads to the page of limits. */
export function BudgetPill() {
  const { workspaceId } = useParams({ from: "/w/$workspaceId" });
  const { data: usage, isError } = useQuery(usageQuery);
  const meter = usage?.meters.find((each) => each.meter === "model_cost");
  if (meter === undefined) {
    return <span className={styles["pill"]}>{isError ? t("budget.unknown") : t("loading")}</span>;
  }
  const { used, held, limit } = meter;
  const tone = meterTone(meter);
  const Icon = icons[tone];
  const amounts = {
    used: formatCost(used),
    held: formatCost(held),
    limit: limit === null ? t("budget.noLimit") : formatLimit(limit),
  };
  const state =
    tone === "stopped"
      ? t("budget.stopped")
      : tone === "calm" || limit === null
        ? ""
        : t("budget.at", { part: formatPercent((used + held) / limit) });
  return (
    <Link
      to="/w/$workspaceId/limits"
      params={{ workspaceId }}
      className={`${styles["pill"]} ${styles[tone]}`}
      data-tone={tone}
    >
      <Icon size={16} aria-hidden />
      <span className="visually-hidden">{t("budget.title")} </span>
      <span className={styles["bar"]}>
        <MeterBar used={used} held={held} limit={limit} />
      </span>
      <span className="money" title={t("budget.label", amounts)}>
        {amounts.used}
        <span className="visually-hidden"> {t("cost.spent")}</span>
        {held > 0 && (
          <span>
            {" + "}
            {amounts.held}
            <span className="visually-hidden"> {t("budget.reserved")}</span>
          </span>
        )}
        <span className="dim"> / {amounts.limit}</span>
      </span>
      {state !== "" && <span className={styles["state"]}>{state}</span>}
    </Link>
  );
}

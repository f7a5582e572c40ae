import { useState } from "react";
import type { Usage } from "@guildhall/sdk/contract/workspace.ts";
import { formatCost } from "../../../format/money.ts";
import { formatCount } from "../../../format/number.ts";
import { formatDay } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import { Button } from "../../../ui/button.tsx";
import { fillDays } from "./fill-days.ts";
import styles from "./usage-page.module.css";

type Day = Usage["by_day"][number];

const height = 160;
const slot = 32;
/** A single day would be one huge bar, and tell nothing. */
const leastDays = 14;

function Bars({ days: known }: { days: readonly Day[] }) {
  const days = fillDays(known, leastDays);
  const most = Math.max(1, ...days.map((day) => day.spent_nano_usd));
  const total = days.reduce((sum, day) => sum + day.spent_nano_usd, 0);
  return (
    <>
      <svg
        role="img"
        aria-label={t("usage.chart", { total: formatCost(total), most: formatCost(most) })}
        viewBox={`0 0 ${slot * days.length} ${height}`}
        preserveAspectRatio="none"
        className={styles["chart"]}
      >
        {days.map((day, index) => {
          const bar = Math.max(
            day.spent_nano_usd > 0 ? 2 : 0,
            (day.spent_nano_usd / most) * (height - 8),
          );
          return (
            <rect
              key={day.day}
              x={index * slot + 4}
              y={height - bar}
              width={slot - 8}
              height={bar}
              className={styles["bar"]}
            >
              <title>{`${formatDay(day.day)}: ${formatCost(day.spent_nano_usd)}`}</title>
            </rect>
          );
        })}
        <line x1={0} x2={slot * days.length} y1={height} y2={height} className={styles["axis"]} />
      </svg>
      <p className={styles["days"]} aria-hidden>
        <span>{formatDay(days[0]?.day ?? "")}</span>
        <span>{t("usage.most", { most: formatCost(most) })}</span>
        <span>{formatDay(days.at(-1)?.day ?? "")}</span>
      </p>
    </>
  );
}

function DayTable({ days }: { days: readonly Day[] }) {
  return (
    <div className={styles["scroll"]}>
      <table className={styles["table"]}>
        <thead>
          <tr>
            <th scope="col">{t("usage.day")}</th>
            <th scope="col" className={styles["number"]}>
              {t("usage.tasks")}
            </th>
            <th scope="col" className={styles["number"]}>
              {t("usage.spent")}
            </th>
          </tr>
        </thead>
        <tbody>
          {days.map((day) => (
            <tr key={day.day}>
              <th scope="row">{formatDay(day.day)}</th>
              <td className={styles["number"]}>{formatCount(day.tasks)}</td>
              <td className={`money ${styles["number"]}`}>{formatCost(day.spent_nano_usd)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What each day cost, as bars or as exact figures. */
export function DayChart({ days }: { days: readonly Day[] }) {
  const [asTable, setAsTable] = useState(false);
  return (
    <section aria-labelledby="by-day" className="panel">
      <div className={styles["chart-head"]}>
        <h2 id="by-day">{t("usage.byDay")}</h2>
        <Button aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
          {asTable ? t("usage.asChart") : t("usage.asTable")}
        </Button>
      </div>
      {days.length === 0 && <p className="dim">{t("usage.none")}</p>}
      {days.length > 0 && (asTable ? <DayTable days={days} /> : <Bars days={days} />)}
    </section>
  );
}

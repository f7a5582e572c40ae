import { useSuspenseQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { agentsQuery, usageQuery } from "../../../api/queries.ts";
import { formatPeriod } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import { Button } from "../../../ui/button.tsx";
import { PageHead } from "../../../ui/page-head.tsx";
import { saveBlob } from "../../../ui/save-blob.ts";
import { ByAgent, ByModel } from "./breakdown.tsx";
import { Counted } from "./counted.tsx";
import { DayChart } from "./day-chart.tsx";
import { MeterCard } from "./meter-card.tsx";
import { usageCsv } from "./usage-csv.ts";
import styles from "./usage-page.module.css";

export function UsagePage() {
  const { data: usage } = useSuspenseQuery(usageQuery);
  const { data: agents } = useSuspenseQuery(agentsQuery);
  const period = usage.meters.find((meter) => meter.meter === "model_cost")?.period ?? "";
  const nameOf = (id: string) => agents.find((agent) => agent.id === id)?.name ?? id;
  const save = () =>
    saveBlob(
      new Blob([usageCsv(usage)], { type: "text/csv" }),
      `guildhall-usage-${period || "now"}.csv`,
    );
  return (
    <>
      <PageHead
        title={
          period === "" ? t("usage.title") : t("usage.titleOf", { period: formatPeriod(period) })
        }
        actions={
          <Button icon={<Download size={16} aria-hidden />} onClick={save}>
            {t("usage.csv")}
          </Button>
        }
      >
        {usage.simulated && <p className="dim">{t("sim.title")}</p>}
      </PageHead>
      <section aria-label={t("usage.meters")}>
        <ul className={styles["meters"]}>
          {usage.meters.map((meter) => (
            <MeterCard key={meter.meter} meter={meter} />
          ))}
        </ul>
      </section>
      <DayChart days={usage.by_day} />
      <div className={styles["breakdowns"]}>
        <ByAgent rows={usage.by_agent} nameOf={nameOf} />
        <ByModel rows={usage.by_model} />
        <Counted rows={usage.counted} />
      </div>
    </>
  );
}

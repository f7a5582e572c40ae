import { useEffect, useState } from "react";
import { useSuspenseQuery } from "@tanstack/react-query";
import { useLocation } from "@tanstack/react-router";
import { FlaskConical, OctagonX } from "lucide-react";
import type { LimitList, LimitRow } from "@guildhall/sdk/contract/limit.ts";
import { limitsQuery } from "../../../api/queries.ts";
import { t } from "../../../messages/translate.ts";
import { limitAnchor, raisersText, suspensionReason } from "../../../tasks/limit-text.ts";
import { Button } from "../../../ui/button.tsx";
import { CommandLine } from "../../../ui/copy-button.tsx";
import { PageHead } from "../../../ui/page-head.tsx";
import { HistoryDialog } from "./history-dialog.tsx";
import { LimitTable } from "./limit-table.tsx";
import { PlanPanel } from "./plan-panel.tsx";
import { SimulateDialog } from "./simulate-dialog.tsx";
import { WaitingList } from "./waiting-list.tsx";
import styles from "./limits-page.module.css";

/** What stops work without being an amount: a suspended workspace, a model without a price. */
function Stops({ stops }: { stops: LimitList["stops"] }) {
  if (stops.length === 0) return null;
  return (
    <ul className={styles["stops"]}>
      {stops.map((stop) => (
        <li key={stop.kind === "unpriced" ? stop.model : stop.kind} className="panel">
          <p className={styles["stop"]}>
            <OctagonX size={20} aria-hidden />
            {stop.kind === "unpriced"
              ? t("limits.stop.unpriced", { model: stop.model })
              : t("limits.stop.suspended", { reason: suspensionReason(stop.reason) })}
          </p>
          <WaitingList tasks={stop.waiting} count={stop.waiting_count} />
          <p className="dim">{t("limits.liftedBy", { who: raisersText(stop.raised_by) })}</p>
        </li>
      ))}
    </ul>
  );
}

/** A link from a paused task names the limit that stops it: it is shown and gets the focus. */
function useNamedRow(): void {
  const hash = useLocation({ select: (location) => location.hash });
  useEffect(() => {
    if (hash === "") return;
    const row = document.getElementById(hash);
    row?.scrollIntoView({ block: "center" });
    row?.focus({ preventScroll: true });
  }, [hash]);
}

/** Every limit that can stop work: its use, what waits for it and why, and who changed it when. */
export function LimitsPage() {
  const { data: limits } = useSuspenseQuery(limitsQuery);
  const [shown, setShown] = useState<LimitRow>();
  const [simulating, setSimulating] = useState(false);
  useNamedRow();
  const current = limits.data.find((row) => shown && limitAnchor(row) === limitAnchor(shown));
  return (
    <>
      <PageHead
        title={t("limits.title")}
        actions={
          <Button icon={<FlaskConical size={16} aria-hidden />} onClick={() => setSimulating(true)}>
            {t("limits.simulate")}
          </Button>
        }
      >
        <p className="dim">{t("limits.about")}</p>
        {limits.simulated && <p className="dim">{t("sim.title")}</p>}
      </PageHead>
      <Stops stops={limits.stops} />
      <PlanPanel />
      <LimitTable rows={limits.data} onHistory={setShown} />
      <CommandLine text="npx guildhall limit list" label={t("copy.commandLine")} />
      {shown !== undefined && (
        <HistoryDialog row={current ?? shown} onClose={() => setShown(undefined)} />
      )}
      {simulating && <SimulateDialog onClose={() => setSimulating(false)} />}
    </>
  );
}

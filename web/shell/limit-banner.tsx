import { useQuery } from "@tanstack/react-query";
import { Pause } from "lucide-react";
import { officeTasksQuery } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import { limitStory, raisable, type LimitStop } from "../tasks/limit-text.ts";
import { Button } from "../ui/button.tsx";
import { openDialog } from "./dialogs.ts";
import styles from "./limit-banner.module.css";

/** Which limit holds work up, what is left of it, that nothing is lost, and the way on. */
export function LimitBanner({ stop, tasks }: { stop: LimitStop; tasks?: number }) {
  return (
    <section aria-label={t("limit.banner")} className={styles["banner"]}>
      <Pause size={20} aria-hidden className={styles["icon"]} />
      <p className={styles["text"]}>
        {limitStory(stop)}{" "}
        {tasks === undefined ? t("limit.safe") : t("limit.parked", { count: tasks })}
      </p>
      {raisable(stop) ? (
        <Button onClick={() => openDialog({ kind: "raise-limit", stop })}>
          {t("limit.raise")}
        </Button>
      ) : (
        <p className="dim">{t("limit.operator")}</p>
      )}
    </section>
  );
}

/** The workspace's own limit concerns every page; a task's limit only its page. */
export function WorkspaceLimitBanner() {
  const { data: tasks } = useQuery(officeTasksQuery);
  const stops = (tasks ?? []).flatMap((task) =>
    task.state === "paused" && task.parked?.kind === "limit" && task.parked.level === "workspace"
      ? [task.parked]
      : [],
  );
  const stop = stops[0];
  return stop === undefined ? null : <LimitBanner stop={stop} tasks={stops.length} />;
}

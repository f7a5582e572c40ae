import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { Pause } from "lucide-react";
import { officeTasksQuery } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import {
  holdUpOf,
  holdUpStory,
  limitAnchor,
  raisersText,
  type HoldUp,
} from "../tasks/limit-text.ts";
import { targetOfStop } from "../tasks/limit-target.ts";
import { Button } from "../ui/button.tsx";
import { openDialog } from "./dialogs.ts";
import styles from "./limit-banner.module.css";

/** Which limit holds work up, what is left of it, that nothing is lost, who can raise it, and the way there. */
export function LimitBanner({ hold, tasks }: { hold: HoldUp; tasks?: number }) {
  const { workspaceId } = useParams({ from: "/w/$workspaceId" });
  const target = targetOfStop(hold);
  const isReserved = hold.kind === "limit" && hold.status === "reserved";
  return (
    <section aria-label={t("limit.banner")} className={styles["banner"]}>
      <Pause size={20} aria-hidden className={styles["icon"]} />
      <p className={styles["text"]}>
        {holdUpStory(hold)}{" "}
        {isReserved
          ? t("limit.byItself")
          : t("limit.raisedBy", { who: raisersText(hold.raised_by) })}{" "}
        {tasks === undefined ? t("limit.safe") : t("limit.parked", { count: tasks })}
      </p>
      <Link
        to="/w/$workspaceId/limits"
        params={{ workspaceId }}
        {...(hold.kind === "limit" ? { hash: limitAnchor(hold) } : {})}
        className={styles["link"]}
      >
        {t("limit.see")}
      </Link>
      {target !== undefined && !isReserved && (
        <Button onClick={() => openDialog({ kind: "raise-limit", target })}>
          {t("limit.raise")}
        </Button>
      )}
    </section>
  );
}

/** The workspace's own limit concerns every page; a task's limit only its page. */
export function WorkspaceLimitBanner() {
  const { data: tasks } = useQuery(officeTasksQuery);
  const holds = (tasks ?? []).flatMap((task) => {
    const hold = task.state === "paused" ? holdUpOf(task.parked) : undefined;
    return hold?.kind === "limit" && hold.level === "workspace" ? [hold] : [];
  });
  const first = holds[0];
  return first === undefined ? null : <LimitBanner hold={first} tasks={holds.length} />;
}

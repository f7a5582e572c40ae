import { useQuery } from "@tanstack/react-query";
import { Bell } from "lucide-react";
import { alertsQuery } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import { IconButton } from "../ui/button.tsx";
import styles from "./alerts.module.css";
import { openDialog } from "./dialogs.ts";

const MOST_SHOWN = 99;

/** How many alerts are unread; opens their list. */
export function AlertBell() {
  const { data } = useQuery(alertsQuery);
  const unread = data?.unread ?? 0;
  const icon = (
    <span className={styles["bell"]}>
      <Bell size={16} aria-hidden />
      {unread > 0 && (
        <span className={styles["count"]} aria-hidden>
          {unread > MOST_SHOWN ? `${MOST_SHOWN}+` : unread}
        </span>
      )}
    </span>
  );
  return (
    <span className={unread > 0 ? undefined : styles["quiet"]} data-unread={unread}>
      <IconButton
        label={unread > 0 ? t("alerts.open", { count: unread }) : t("alerts.title")}
        icon={icon}
        onClick={() => openDialog({ kind: "alerts" })}
      />
    </span>
  );
}

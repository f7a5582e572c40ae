import { useSuspenseQuery } from "@tanstack/react-query";
import { OctagonX } from "lucide-react";
import { meQuery } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import styles from "./limit-banner.module.css";

/** Why nothing goes on in this workspace, on every page. */
export function SuspendedBanner() {
  const { data: me } = useSuspenseQuery(meQuery);
  const { suspended } = me.workspace;
  if (suspended === null) return null;
  const reason = suspended === "margin_guard" ? "margin_guard" : "operator";
  return (
    <section aria-label={t("workspace.suspended")} className={styles["banner"]}>
      <OctagonX size={20} aria-hidden className={styles["icon"]} />
      <p className={styles["text"]}>{t(`workspace.suspended.${reason}`)}</p>
    </section>
  );
}

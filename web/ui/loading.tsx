import { t } from "../messages/translate.ts";
import styles from "./loading.module.css";

/** Something is under way and nobody knows how long: no invented percentage. */
export function Loading({ label = t("loading") }: { label?: string }) {
  return (
    <output className={styles["loading"]}>
      <span className={styles["shimmer"]} aria-hidden />
      {label}
    </output>
  );
}

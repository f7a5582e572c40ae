import type { ReactNode } from "react";
import styles from "./state-badge.module.css";

export type Tone = "working" | "done" | "blocked" | "approval" | "paused" | "error" | "idle";

/** A state by shape, word and colour together, so that none of them is needed alone. */
export function StateBadge({ tone, icon, label }: { tone: Tone; icon: ReactNode; label: string }) {
  return (
    <span className={`${styles["badge"]} ${styles[tone]}`}>
      <span className={styles["shape"]} aria-hidden>
        {icon}
      </span>
      <span className={styles["label"]}>{label}</span>
    </span>
  );
}

import styles from "./meter-bar.module.css";

export type MeterTone = "calm" | "warn" | "high" | "stopped";

/** How near a budget is to its limit. 80 % and 95 % are where the page starts to warn. */
export function meterTone({ used, held, limit }: MeterAmounts): MeterTone {
  if (limit === null) return "calm";
  if (used >= limit) return "stopped";
  const part = (used + held) / limit;
  if (part >= 0.95) return "high";
  return part >= 0.8 ? "warn" : "calm";
}

export type MeterAmounts = { used: number; held: number; limit: number | null };

const share = (part: number, whole: number) =>
  whole <= 0 ? 100 : Math.min(100, Math.max(0, (part / whole) * 100));

/** Used (solid) and reserved (hatched) against a limit. `label` says the same in words, where no text beside it does. */
export function MeterBar({ used, held, limit, label }: MeterAmounts & { label?: string }) {
  const tone = meterTone({ used, held, limit });
  const usedPart = limit === null ? 0 : share(used, limit);
  const heldPart = limit === null ? 0 : Math.min(100 - usedPart, share(held, limit));
  return (
    <span className={`${styles["bar"]} ${styles[tone]}`} data-tone={tone}>
      {label !== undefined && <span className="visually-hidden">{label}</span>}
      <span className={styles["used"]} style={{ width: `${usedPart}%` }} />
      <span className={styles["held"]} style={{ width: `${heldPart}%` }} />
    </span>
  );
}

import { useEffect, useRef, useState } from "react";
import { useQuery } from "@tanstack/react-query";
import { TriangleAlert, X } from "lucide-react";
import type { Alert } from "@guildhall/sdk/contract/alert.ts";
import { alertsQuery } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import { alertText, interrupts } from "../tasks/alert-text.ts";
import { announce } from "../ui/announce.ts";
import { IconButton } from "../ui/button.tsx";
import styles from "./alerts.module.css";

const SHOWN_MS = 12_000;
const MOST_AT_ONCE = 3;

/** Of several thresholds of one limit at once, the highest says it all. */
function newest(alerts: readonly Alert[]): Alert[] {
  const limits = new Set<string>();
  return alerts.filter(({ meter, level, scope_id, kind }) => {
    const limit = [meter, level, scope_id, kind].join(" ");
    const first = !limits.has(limit);
    limits.add(limit);
    return first;
  });
}

const without =
  (gone: readonly Alert[]) =>
  (shown: readonly Alert[]): readonly Alert[] =>
    shown.filter((alert) => !gone.some(({ seq }) => seq === alert.seq));

/** Shows and says each new alert for a while, on whichever page; the bell keeps them. */
export function AlertToasts() {
  const { data } = useQuery(alertsQuery);
  const known = useRef<number>(undefined);
  const [shown, setShown] = useState<readonly Alert[]>([]);
  useEffect(() => {
    if (data === undefined) return;
    const before = known.current;
    known.current = Math.max(before ?? 0, data.data[0]?.seq ?? 0);
    // What was there when the page opened is no news.
    if (before === undefined) return;
    const fresh = newest(data.data.filter((alert) => alert.seq > before && interrupts(alert)));
    if (fresh.length === 0) return;
    for (const alert of fresh) announce(alertText(alert));
    setShown((now) => [...fresh, ...now].slice(0, MOST_AT_ONCE));
    setTimeout(() => setShown(without(fresh)), SHOWN_MS);
  }, [data]);

  if (shown.length === 0) return null;
  return (
    <ol aria-label={t("alerts.title")} className={styles["toasts"]}>
      {shown.map((alert) => (
        <li key={alert.seq} className={styles["toast"]}>
          <TriangleAlert size={16} aria-hidden />
          <span>{alertText(alert)}</span>
          <IconButton
            label={t("alerts.dismiss")}
            icon={<X size={16} aria-hidden />}
            onClick={() => setShown(without([alert]))}
          />
        </li>
      ))}
    </ol>
  );
}

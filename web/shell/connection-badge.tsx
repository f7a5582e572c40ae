import { Radio, RefreshCw, WifiOff, type LucideIcon } from "lucide-react";
import { t } from "../messages/translate.ts";
import { useConnection, type ConnectionState } from "../realtime/connection.ts";
import styles from "./top-bar.module.css";

const icons: Readonly<Record<ConnectionState, LucideIcon>> = {
  connecting: RefreshCw,
  live: Radio,
  polling: RefreshCw,
  offline: WifiOff,
};

/** Whether what the page shows is of this moment. */
export function ConnectionBadge() {
  const state = useConnection((store) => store.state);
  const Icon = icons[state];
  return (
    <span
      className={`${styles["connection"]} ${styles[state]}`}
      title={t(`connection.${state}.title`)}
      data-connection={state}
    >
      <Icon size={14} aria-hidden />
      <span className={styles["word"]}>{t(`connection.${state}`)}</span>
    </span>
  );
}

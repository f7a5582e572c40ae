import { useId } from "react";
import { formatZoned } from "../format/time.ts";
import { t } from "../messages/translate.ts";
import { useNow } from "../ui/use-now.ts";
import styles from "./new-task-dialog.module.css";

/** The moment that the field names in the time zone of the browser; undefined for none. */
export function startOf(value: string): Date | undefined {
  const moment = new Date(value);
  return value === "" || Number.isNaN(moment.getTime()) ? undefined : moment;
}

/** When the task may start: at once, or not before a moment. The moment is said again in words, with its zone. */
export function StartField({
  value,
  onChange,
}: {
  value: string;
  onChange: (value: string) => void;
}) {
  const id = useId();
  const nowMs = useNow();
  const start = startOf(value);
  const isPast = start !== undefined && start.getTime() <= nowMs;
  return (
    <div className={`field ${styles["start"]}`}>
      <label htmlFor={id}>{t("start.label")}</label>
      <input
        id={id}
        type="datetime-local"
        value={value}
        aria-describedby={`${id}-says`}
        onChange={(event) => onChange(event.target.value)}
      />
      <p id={`${id}-says`} className="dim">
        {start === undefined
          ? t("start.now")
          : isPast
            ? t("start.past")
            : t("start.later", { at: formatZoned(start.toISOString()) })}
      </p>
    </div>
  );
}

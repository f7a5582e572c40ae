import { useId } from "react";
import { formatLimit, parseUsd } from "../format/money.ts";
import { t } from "../messages/translate.ts";
import styles from "./new-task-dialog.module.css";

/** The most that the task may spend, and what that means in a sentence. */
export function CapField({
  value,
  onChange,
  simulated,
}: {
  value: string;
  onChange: (value: string) => void;
  simulated: boolean;
}) {
  const id = useId();
  const nanoUsd = parseUsd(value);
  const good = nanoUsd !== undefined && nanoUsd > 0;
  return (
    <div className={`field ${styles["cap"]}`}>
      <label htmlFor={id}>{t("cap.label")}</label>
      <span className={styles["amount"]}>
        <span aria-hidden>$</span>
        <input
          id={id}
          inputMode="decimal"
          autoComplete="off"
          className="money"
          value={value}
          aria-invalid={!good}
          aria-describedby={`${id}-promise`}
          onChange={(event) => onChange(event.target.value)}
        />
      </span>
      <p id={`${id}-promise`} className={good ? "dim" : "field-problem"}>
        {good ? t("cap.promise", { limit: formatLimit(nanoUsd) }) : t("cap.wrong")}
        {good && simulated && ` ${t("cap.simulated")}`}
      </p>
    </div>
  );
}

import { CircleX } from "lucide-react";
import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";
import { formatCost } from "../../../../format/money.ts";
import { t } from "../../../../messages/translate.ts";
import { causeText } from "../../../../tasks/cause-text.ts";
import { Markdown } from "../../../../ui/markdown.tsx";
import styles from "./outcome.module.css";

/** How the task ended: the agent's last words, or what went wrong, what it cost, and what can be done. */
export function Outcome({ task }: { task: TaskDetail }) {
  if (task.state === "succeeded" && task.result !== null) {
    return (
      <section aria-labelledby="outcome" className={`panel ${styles["result"]}`}>
        <h2 id="outcome">{t("outcome.result")}</h2>
        <Markdown text={task.result} />
      </section>
    );
  }
  if (task.state !== "failed") return null;
  const { happened, advice } = causeText(task.cause);
  return (
    <section aria-labelledby="outcome" className={`panel ${styles["failed"]}`}>
      <h2 id="outcome" className={styles["title"]}>
        <CircleX size={20} aria-hidden />
        {t("outcome.failed")}
      </h2>
      <p>{happened}</p>
      <p>{t("outcome.money", { spent: formatCost(task.usage.spent_nano_usd) })}</p>
      <p>{advice}</p>
      {task.cause !== null && (
        <p className="dim">
          <code>{task.cause}</code> · <code>{task.id}</code>
        </p>
      )}
    </section>
  );
}

import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";
import type { Attempt, TaskView } from "../../../../events/task-view.ts";
import { formatBytes } from "../../../../format/number.ts";
import { formatClock, formatDateTime } from "../../../../format/time.ts";
import { t } from "../../../../messages/translate.ts";
import { CopyButton } from "../../../../ui/copy-button.tsx";
import styles from "./task-facts.module.css";

function stopText(attempt: Attempt): string | undefined {
  const { stopped } = attempt;
  if (stopped === undefined) return undefined;
  const at = formatClock(stopped.at);
  switch (stopped.how) {
    case "lease_lost":
      return t("attempt.lost", { at });
    case "released":
      return t("attempt.released", { at });
    case "parked":
      return t("attempt.parked", { at });
  }
}

function Attempts({ attempts }: { attempts: readonly Attempt[] }) {
  return (
    <section aria-labelledby="attempts" className="panel">
      <h2 id="attempts">{t("attempts.title")}</h2>
      {attempts.length === 0 && <p className="dim">{t("attempts.none")}</p>}
      <ol className={styles["list"]}>
        {attempts.map((attempt) => {
          const stop = stopText(attempt);
          return (
            <li key={attempt.attempt}>
              <span>
                {t("attempt.started", { attempt: attempt.attempt, at: formatClock(attempt.at) })}
                {attempt.fromStep !== undefined &&
                  `, ${t("attempt.resumed", { step: attempt.fromStep })}`}
              </span>
              {stop !== undefined && <span className="dim">{stop}</span>}
            </li>
          );
        })}
      </ol>
    </section>
  );
}

/** What was asked, with which files, and who has worked on it. */
export function TaskFacts({ task, view }: { task: TaskDetail; view: TaskView }) {
  return (
    <>
      <section aria-labelledby="prompt" className="panel">
        <h2 id="prompt">{t("facts.prompt")}</h2>
        <p className={styles["prompt"]}>{task.prompt}</p>
      </section>
      <section aria-labelledby="inputs" className="panel">
        <h2 id="inputs">{t("facts.inputs")}</h2>
        {task.input_files.length === 0 && <p className="dim">{t("facts.noInputs")}</p>}
        <ul className={styles["list"]}>
          {task.input_files.map((file) => (
            <li key={file.path} className={styles["file"]}>
              <span>{file.path}</span>
              <span className="dim money">{formatBytes(file.size_bytes)}</span>
            </li>
          ))}
        </ul>
      </section>
      <Attempts attempts={view.attempts} />
      <section aria-labelledby="facts" className="panel">
        <h2 id="facts">{t("facts.title")}</h2>
        <p className={styles["id"]}>
          <code>{task.id}</code>
          <CopyButton text={task.id} label={t("facts.copyId")} />
        </p>
        <p className="dim">{t("facts.created", { at: formatDateTime(task.created_at) })}</p>
        {task.start_after !== null && (
          <p className="dim">{t("facts.start", { at: formatDateTime(task.start_after) })}</p>
        )}
      </section>
    </>
  );
}

import type { ReactNode } from "react";
import { CircleAlert } from "lucide-react";
import { ConnectionError, GuildhallError } from "@guildhall/sdk/client/errors.ts";
import { t } from "../messages/translate.ts";
import { CopyButton } from "./copy-button.tsx";
import styles from "./problem.module.css";

type Told = {
  title: string;
  detail: string;
  hint: string | undefined;
  code: string | undefined;
  requestId: string | undefined;
  fields: readonly { field: string; message: string }[];
};

/** What a person should read about an error: what happened, what to do, and what to tell whoever helps. */
export function describeProblem(error: unknown): Told {
  if (error instanceof GuildhallError) {
    const { problem } = error;
    return {
      title: problem.title,
      detail: problem.detail,
      hint: problem.hint,
      code: problem.code,
      requestId: problem.request_id || undefined,
      // Most details name the fields already; what they leave out is listed.
      fields: (problem.errors ?? []).filter((error) => !problem.detail.includes(error.message)),
    };
  }
  const offline = error instanceof ConnectionError || error instanceof TypeError;
  return {
    title: offline ? t("problem.offline.title") : t("problem.unknown.title"),
    detail: offline
      ? t("problem.offline.detail")
      : error instanceof Error
        ? error.message
        : String(error),
    hint: offline ? t("problem.offline.hint") : t("problem.unknown.hint"),
    code: undefined,
    requestId: undefined,
    fields: [],
  };
}

/** An error in place. `money` says what it cost, where money was at stake; `action` is what helps. */
export function ProblemNotice({
  error,
  money,
  action,
}: {
  error: unknown;
  money?: string;
  action?: ReactNode;
}) {
  const told = describeProblem(error);
  return (
    <div role="alert" className={styles["problem"]}>
      <CircleAlert size={20} aria-hidden className={styles["icon"]} />
      <div className={styles["text"]}>
        <p className={styles["title"]}>{told.title}</p>
        <p>{told.detail}</p>
        {told.fields.length > 0 && (
          <ul>
            {told.fields.map((field) => (
              <li key={`${field.field} ${field.message}`}>
                <code>{field.field}</code>: {field.message}
              </li>
            ))}
          </ul>
        )}
        {told.hint !== undefined && <p>{told.hint}</p>}
        {money !== undefined && <p>{money}</p>}
        {(told.code !== undefined || told.requestId !== undefined) && (
          <p className={styles["codes"]}>
            {told.code !== undefined && <code>{told.code}</code>}
            {told.requestId !== undefined && (
              <>
                <span>{t("problem.request")}</span> <code>{told.requestId}</code>
                <CopyButton text={told.requestId} label={t("problem.copyRequest")} />
              </>
            )}
          </p>
        )}
        {action}
      </div>
    </div>
  );
}

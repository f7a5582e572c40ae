import type { ReactNode } from "react";
import { t } from "../messages/translate.ts";
import { CommandLine } from "./copy-button.tsx";
import styles from "./empty-state.module.css";

/** Nothing here yet: what this place is, the one thing to do, and the same by command line. */
export function EmptyState({
  text,
  action,
  command,
}: {
  text: string;
  action?: ReactNode;
  command?: string;
}) {
  return (
    <div className={styles["empty"]}>
      <p>{text}</p>
      {action}
      {command !== undefined && <CommandLine text={command} label={t("copy.commandLine")} />}
    </div>
  );
}

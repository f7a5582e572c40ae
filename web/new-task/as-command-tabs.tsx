import { t } from "../messages/translate.ts";
import { CommandLine } from "../ui/copy-button.tsx";
import { Tabs } from "../ui/tabs.tsx";
import { asCli, asCurl, type TaskCommand } from "./as-command.ts";
import styles from "./new-task-dialog.module.css";

/** The same task for a terminal, as far as it is filled in. */
export function AsCommandTabs({ command }: { command: TaskCommand }) {
  return (
    <details className={styles["elsewhere"]}>
      <summary>{t("newTask.elsewhere")}</summary>
      <Tabs
        label={t("newTask.elsewhere")}
        tabs={[
          {
            id: "cli",
            label: t("newTask.cli"),
            content: <CommandLine text={asCli(command)} label={t("newTask.cli")} />,
          },
          {
            id: "curl",
            label: t("newTask.curl"),
            content: (
              <CommandLine text={asCurl(command, location.origin)} label={t("newTask.curl")} />
            ),
          },
        ]}
      />
    </details>
  );
}

import { useSuspenseQuery } from "@tanstack/react-query";
import type { TaskState } from "@guildhall/sdk/contract/task.ts";
import { agentsQuery, deadCause, type TaskFilter } from "../../../api/queries.ts";
import { t } from "../../../messages/translate.ts";
import { allStates, taskStateLabel } from "../../../tasks/task-state.tsx";
import styles from "./task-filters.module.css";

type Filter = { state?: TaskState; cause?: string; agent?: string };

/** What the chips choose between: any task, those in one state, and the dead ones. */
const choices: readonly { label: string; state?: TaskState; cause?: string }[] = [
  { label: t("tasks.all") },
  ...allStates.map((state) => ({ label: taskStateLabel(state), state })),
  { label: t("tasks.dead"), cause: deadCause },
];

/** Which tasks the table shows. The choice is the address, so that it can be shared and survives a reload. */
export function TaskFilters({
  filter,
  onChange,
}: {
  filter: TaskFilter;
  onChange: (filter: Filter) => void;
}) {
  const { data: agents } = useSuspenseQuery(agentsQuery);
  const choose = (change: TaskFilter) => {
    const { state, cause, agent } = { ...filter, ...change };
    onChange({
      ...(state === undefined ? {} : { state }),
      ...(cause === undefined ? {} : { cause }),
      ...(agent ? { agent } : {}),
    });
  };
  return (
    <div className={styles["filters"]}>
      <fieldset className={styles["states"]}>
        <legend className="visually-hidden">{t("tasks.byState")}</legend>
        {choices.map(({ label, state, cause }) => (
          <button
            key={label}
            type="button"
            aria-pressed={filter.state === state && filter.cause === cause}
            className={styles["chip"]}
            onClick={() => choose({ state, cause })}
          >
            {label}
          </button>
        ))}
      </fieldset>
      <label className={styles["agent"]}>
        {t("tasks.agent")}
        <select
          value={filter.agent ?? ""}
          onChange={(event) => choose({ agent: event.target.value || undefined })}
        >
          <option value="">{t("tasks.anyAgent")}</option>
          {agents.map((agent) => (
            <option key={agent.id} value={agent.id}>
              {agent.name}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

import { useSuspenseQuery } from "@tanstack/react-query";
import type { TaskState } from "@guildhall/sdk/contract/task.ts";
import { agentsQuery, type TaskFilter } from "../../../api/queries.ts";
import { t } from "../../../messages/translate.ts";
import { allStates, taskStateLabel } from "../../../tasks/task-state.tsx";
import styles from "./task-filters.module.css";

type Filter = { state?: TaskState; agent?: string };

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
    const { state, agent } = { ...filter, ...change };
    onChange({ ...(state === undefined ? {} : { state }), ...(agent ? { agent } : {}) });
  };
  return (
    <div className={styles["filters"]}>
      <fieldset className={styles["states"]}>
        <legend className="visually-hidden">{t("tasks.byState")}</legend>
        {[undefined, ...allStates].map((state) => (
          <button
            key={state ?? "all"}
            type="button"
            aria-pressed={filter.state === state}
            className={styles["chip"]}
            onClick={() => choose({ state })}
          >
            {state === undefined ? t("tasks.all") : taskStateLabel(state)}
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

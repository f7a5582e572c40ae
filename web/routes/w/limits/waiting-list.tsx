import { Link, useParams } from "@tanstack/react-router";
import type { LimitMeter, WaitingTask } from "@guildhall/sdk/contract/limit.ts";
import { formatMoment } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import { meterAmount } from "../../../tasks/meter-amount.ts";
import styles from "./limits-page.module.css";

function why(task: WaitingTask, meter: LimitMeter | undefined): string {
  const since = formatMoment(task.since, Date.now());
  const needed = task.needed === null || meter === undefined ? "" : meterAmount(meter, task.needed);
  switch (task.why) {
    case "reserved":
    case "exhausted":
      return t(`limits.why.${task.why}`, { needed, since });
    default:
      return t(`limits.why.${task.why}`, { since });
  }
}

/** Which tasks wait for one thing, and why. */
export function WaitingList({
  tasks,
  count,
  meter,
}: {
  tasks: readonly WaitingTask[];
  count: number;
  meter?: LimitMeter;
}) {
  const { workspaceId } = useParams({ from: "/w/$workspaceId" });
  if (count === 0) return null;
  const more = count - tasks.length;
  return (
    <div className={styles["waiting"]}>
      <p>{t("limits.waiting", { count })}</p>
      <ul>
        {tasks.map((task) => (
          <li key={task.task_id}>
            <Link to="/w/$workspaceId/tasks/$taskId" params={{ workspaceId, taskId: task.task_id }}>
              {task.title}
            </Link>{" "}
            <span className="dim">{why(task, meter)}</span>
          </li>
        ))}
        {more > 0 && <li className="dim">{t("limits.waitingMore", { count: more })}</li>}
      </ul>
    </div>
  );
}

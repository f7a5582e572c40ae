import { Link } from "@tanstack/react-router";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { formatDateTime, formatDuration, formatMoment } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import { AgentName } from "../../../tasks/agent-name.tsx";
import { CostCell } from "../../../tasks/cost-cell.tsx";
import { parkedLine } from "../../../tasks/limit-text.ts";
import { taskDurationMs } from "../../../tasks/task-duration.ts";
import { TaskStateBadge } from "../../../tasks/task-state.tsx";
import { useNow } from "../../../ui/use-now.ts";
import styles from "./task-table.module.css";

/** What is worth a second line: why it stands, or why it failed. */
function reason(task: Task): string | undefined {
  if (task.parked !== null) return parkedLine(task.parked);
  return task.state === "failed" ? (task.cause ?? undefined) : undefined;
}

export function TaskRow({
  task,
  workspaceId,
  inTabOrder,
  onFocus,
}: {
  task: Task;
  workspaceId: string;
  inTabOrder: boolean;
  onFocus: () => void;
}) {
  const nowMs = useNow(task.state === "running");
  const durationMs = taskDurationMs(task, nowMs);
  const why = reason(task);
  return (
    <>
      <td className={styles["state"]}>
        <TaskStateBadge state={task.state} parked={task.parked} />
      </td>
      <td className={styles["title"]}>
        <Link
          to="/w/$workspaceId/tasks/$taskId"
          params={{ workspaceId, taskId: task.id }}
          tabIndex={inTabOrder ? 0 : -1}
          onFocus={onFocus}
          className={styles["link"]}
        >
          {task.title}
        </Link>
        {why !== undefined && <span className={styles["why"]}>{why}</span>}
      </td>
      <td className={styles["agent"]}>
        <AgentName id={task.agent_id} />
      </td>
      <td className={styles["cost"]}>
        <CostCell task={task} />
      </td>
      <td className={styles["started"]}>
        <time dateTime={task.created_at} title={formatDateTime(task.created_at)}>
          {formatMoment(task.created_at, nowMs)}
        </time>
      </td>
      <td className={styles["duration"]}>
        {durationMs === undefined ? t("none") : formatDuration(durationMs)}
      </td>
    </>
  );
}

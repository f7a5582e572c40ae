import { Link } from "@tanstack/react-router";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import { formatDateTime, formatDuration, formatMoment } from "../../../format/time.ts";
import { t } from "../../../messages/translate.ts";
import { AgentName } from "../../../tasks/agent-name.tsx";
import { causeLine } from "../../../tasks/cause-text.ts";
import { CostCell } from "../../../tasks/cost-cell.tsx";
import { parkedLine } from "../../../tasks/limit-text.ts";
import { ReplayButton } from "../../../tasks/replay-button.tsx";
import { taskDurationMs } from "../../../tasks/task-duration.ts";
import { waitsForStart } from "../../../tasks/task-start.ts";
import { TaskStateBadge } from "../../../tasks/task-state.tsx";
import { useNow } from "../../../ui/use-now.ts";
import styles from "./task-table.module.css";

/** What is worth a second line: why it stands, what it waits for, or why it failed. */
function reason(task: Task, nowMs: number): string | undefined {
  if (task.parked !== null) return parkedLine(task.parked);
  const start = waitsForStart(task, nowMs);
  if (start !== undefined) return t("tasks.startsAt", { at: formatMoment(start, nowMs) });
  return task.state === "failed" ? causeLine(task.cause) : undefined;
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
  const nowMs = useNow(
    task.state === "running" || (task.state === "queued" && task.start_after !== null),
  );
  const durationMs = taskDurationMs(task, nowMs);
  const why = reason(task, nowMs);
  return (
    <>
      <td className={styles["state"]}>
        <TaskStateBadge state={task.state} parked={task.parked} />
      </td>
      <td className={styles["title"]}>
        <span className={styles["words"]}>
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
        </span>
        {task.state === "failed" && (
          <ReplayButton
            taskId={task.id}
            title={task.title}
            className={styles["replay"] ?? ""}
            tabIndex={inTabOrder ? 0 : -1}
            onFocus={onFocus}
          />
        )}
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

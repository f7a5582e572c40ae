import type { Task } from "@guildhall/sdk/contract/task.ts";
import { formatDuration, formatZoned } from "../../../../format/time.ts";
import { t } from "../../../../messages/translate.ts";
import { taskDurationMs } from "../../../../tasks/task-duration.ts";
import { waitsForStart } from "../../../../tasks/task-start.ts";
import { hasEnded, TaskStateBadge } from "../../../../tasks/task-state.tsx";
import { useNow } from "../../../../ui/use-now.ts";

/** State and how long it has been going on; a ticking clock of its own, so that the rest of the page rests. */
export function TaskStatus({ task }: { task: Task }) {
  const nowMs = useNow(!hasEnded(task.state));
  const start = waitsForStart(task, nowMs);
  const durationMs = taskDurationMs(task, nowMs);
  return (
    <>
      <TaskStateBadge state={task.state} parked={task.parked} />
      {start !== undefined && (
        <time dateTime={start}>{t("tasks.startsAt", { at: formatZoned(start) })}</time>
      )}
      {durationMs !== undefined && <span className="money dim">{formatDuration(durationMs)}</span>}
    </>
  );
}

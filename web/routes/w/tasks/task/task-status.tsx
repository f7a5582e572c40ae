import type { Task } from "@guildhall/sdk/contract/task.ts";
import { formatDuration } from "../../../../format/time.ts";
import { taskDurationMs } from "../../../../tasks/task-duration.ts";
import { hasEnded, TaskStateBadge } from "../../../../tasks/task-state.tsx";
import { useNow } from "../../../../ui/use-now.ts";

/** State and how long it has been going on; a ticking clock of its own, so that the rest of the page rests. */
export function TaskStatus({ task }: { task: Task }) {
  const nowMs = useNow(!hasEnded(task.state));
  const durationMs = taskDurationMs(task, nowMs);
  return (
    <>
      <TaskStateBadge state={task.state} parked={task.parked} />
      {durationMs !== undefined && <span className="money dim">{formatDuration(durationMs)}</span>}
    </>
  );
}

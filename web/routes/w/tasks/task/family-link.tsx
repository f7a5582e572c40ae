import { Link, useParams } from "@tanstack/react-router";
import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";
import { t } from "../../../../messages/translate.ts";

/** The way to the task that this one waits for (which may be the one that asks a person), and to the one it serves. */
export function FamilyLink({ task }: { task: TaskDetail }) {
  const { workspaceId } = useParams({ from: "/w/$workspaceId/tasks/$taskId" });
  const child = task.parked?.kind === "child" ? task.parked.child_task_id : undefined;
  const taskId = child ?? task.parent_task_id;
  if (!taskId) return null;
  return (
    <p>
      <Link to="/w/$workspaceId/tasks/$taskId" params={{ workspaceId, taskId }}>
        {t(child === undefined ? "family.parent" : "family.child")}
      </Link>
    </p>
  );
}

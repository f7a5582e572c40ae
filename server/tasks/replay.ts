import type { Task } from "@guildhall/sdk/contract/task.ts";
import type { WorkspaceTx } from "../platform/db.ts";
import { invariant } from "../platform/errors.ts";
import type { Caller } from "./caller.ts";
import { taskNotFailed, taskNotFound } from "./task-errors.ts";
import { findTask } from "./task-queries.ts";
import { createTask } from "./task-creation.ts";

/**
 * Does the work of a failed task again, from its beginning, as a task of its own with the same agent, prompt, files,
 * priority and limits: a task ends once, so the dead one stays as it is. Of one task there is one replay; asking again
 * answers that one. Throws `task_not_found` (404) and `task_not_failed` (409).
 */
export async function replayTask(
  tx: WorkspaceTx,
  { caller, id }: { caller: Caller; id: string },
): Promise<{ task: Task; made: boolean }> {
  // Whoever asks at the same moment waits here, and finds what was made.
  await tx.query({
    text: "SELECT 1 FROM tasks WHERE workspace_id = current_workspace() AND id = $1 FOR NO KEY UPDATE",
    values: [id],
  });
  const dead = await findTask(tx, id);
  if (dead === undefined) throw taskNotFound();
  if (dead.state !== "failed") throw taskNotFailed(dead.state);
  const [before] = await tx.query<{ id: string }>({
    text: "SELECT id FROM tasks WHERE workspace_id = current_workspace() AND replay_of = $1",
    values: [id],
  });
  if (before !== undefined) {
    const task = await findTask(tx, before.id);
    invariant(task !== undefined, "a replay that was made is there");
    return { task, made: false };
  }
  const { limits } = dead;
  const task = await createTask(tx, {
    caller,
    replayOf: id,
    body: {
      agent: dead.agent_id,
      title: dead.title,
      prompt: dead.prompt,
      priority: dead.priority,
      ...(dead.upload_id === null ? {} : { upload_id: dead.upload_id }),
      limits,
    },
  });
  return { task, made: true };
}

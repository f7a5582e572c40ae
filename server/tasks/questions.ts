import { appendAudit } from "../audit/audit.ts";
import type { Db, WorkspaceTx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import type { Caller } from "./caller.ts";
import type { EventBell } from "./event-bell.ts";
import { findTask } from "./task-queries.ts";
import { taskAlreadyEnded, taskNotFound } from "./task-errors.ts";
import type { TaskBell } from "./tasks.ts";
import type { Task } from "@guildhall/sdk/contract/task.ts";

export type Questions = {
  /**
   * Answers what an agent asked and wakes its task. Throws `question_not_found` (404), `question_already_answered` and
   * `task_already_ended` (409).
   */
  answer(request: { caller: Caller; id: string; answer: string }): Promise<Task>;
};

function questionNotFound(): AppError {
  return new AppError({
    code: "question_not_found",
    status: 404,
    publicMessage: "There is no such question.",
    hint: "A waiting task names its question in `parked`.",
  });
}

function alreadyAnswered(): AppError {
  return new AppError({
    code: "question_already_answered",
    status: 409,
    publicMessage: "This question was answered before; the first answer counts.",
    hint: "Read the answer in the task's events.",
  });
}

/**
 * Locks the question, then the open run of its task: the order in which a run that parks locks them, too. So either it
 * sees the answer, or the answer sees it parked, and no wake-up falls between the two.
 */
async function lockQuestion(tx: WorkspaceTx, id: string): Promise<string> {
  const [question] = await tx.query<{ task_id: string }>({
    text: "SELECT task_id FROM questions WHERE workspace_id = current_workspace() AND id = $1 FOR UPDATE",
    values: [id],
  });
  if (!question) throw questionNotFound();
  const runs = await tx.query({
    text: "SELECT id FROM runs WHERE workspace_id = current_workspace() AND task_id = $1 AND state <> 'ended' FOR UPDATE",
    values: [question.task_id],
  });
  if (runs.length === 0) {
    const task = await findTask(tx, question.task_id);
    throw taskAlreadyEnded(task?.state ?? "unknown");
  }
  return question.task_id;
}

async function answerQuestion(
  tx: WorkspaceTx,
  request: { caller: Caller; id: string; answer: string },
): Promise<Task> {
  const { caller, id, answer } = request;
  const taskId = await lockQuestion(tx, id);
  const answered = await tx.query({
    text: `UPDATE questions SET answer = $2, answered_by = $3, answered_at = clock_now()
      WHERE workspace_id = current_workspace() AND id = $1 AND answer IS NULL RETURNING id`,
    values: [id, answer, caller.actor],
  });
  if (answered.length === 0) throw alreadyAnswered();
  const data = { question_id: id, answer, answered_by: caller.actor };
  await tx.query({
    text: "SELECT append_event(current_workspace(), $1, 'question.answered', $2)",
    values: [taskId, JSON.stringify(data)],
  });
  await tx.query({
    text: `SELECT wake_run(current_workspace(), t.id) FROM tasks t
      WHERE t.workspace_id = current_workspace() AND t.id = $1 AND t.state = 'waiting' AND t.parked->>'question_id' = $2`,
    values: [taskId, id],
  });
  const task = await findTask(tx, taskId);
  if (!task) throw taskNotFound();
  const { actor, origin } = caller;
  await appendAudit(tx, { actor, origin, action: "question.answered", target: id, after: data });
  return task;
}

export function createQuestions(options: {
  db: Db;
  bell: TaskBell;
  eventBell: EventBell;
}): Questions {
  return {
    async answer(request) {
      const task = await options.db.withWorkspace(request.caller.workspaceId, (tx) =>
        answerQuestion(tx, request),
      );
      options.eventBell.ring(task.id);
      options.bell.runReady(task.id);
      return task;
    },
  };
}

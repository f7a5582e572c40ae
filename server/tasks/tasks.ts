import type { z } from "zod";
import type { eventListSchema, listEventsSchema } from "@guildhall/sdk/contract/event.ts";
import {
  type CreateTask,
  type listTasksSchema,
  type Task,
  type TaskDetail,
} from "@guildhall/sdk/contract/task.ts";
import { appendAudit } from "../audit/audit.ts";
import type { Clock } from "../platform/clock.ts";
import type { Db, WorkspaceTx } from "../platform/db.ts";
import { faultPoint } from "../platform/fault-points.ts";
import { validationFailed } from "../platform/http-errors.ts";
import type { Caller } from "./caller.ts";
import type { EventBell } from "./event-bell.ts";
import { type Idempotent, once } from "./idempotency.ts";
import { replayTask } from "./replay.ts";
import { createTask } from "./task-creation.ts";
import { taskAlreadyEnded, taskNotFound } from "./task-errors.ts";
import { readEvents } from "./task-events.ts";
import { findArtifacts, findInputFiles, findTask, findTasks } from "./task-queries.ts";

/** What others in the process are told, after commit. Hints: whoever misses one looks by itself soon after. */
export type TaskBell = {
  /** The run of this task may be claimable; without an id: of any, because a limit was raised or a slot became free. */
  runReady(taskId?: string): void;
  /** A task ended from outside its run: whoever executes it should stop now. */
  taskEnded(taskId: string): void;
};

export type EventPage = z.infer<typeof eventListSchema>;
export type ListQuery = z.infer<typeof listTasksSchema>;
export type EventQuery = z.infer<typeof listEventsSchema>;

export type Tasks = {
  /** Throws `agent_not_found`, `upload_not_found` and `idempotency_key_reused` (all 422). */
  create(request: {
    caller: Caller;
    body: CreateTask;
    idempotencyKey: string | undefined;
  }): Promise<Idempotent<Task>>;
  /** Throws `task_not_found` (404), like everything below that takes an id. */
  get(workspaceId: string, id: string): Promise<TaskDetail>;
  list(
    workspaceId: string,
    query: ListQuery,
  ): Promise<{ data: Task[]; next_cursor: string | null }>;
  /** Ends a task and its delegated ones. Cancelling twice is the same as once; `task_already_ended` (409) when it ended otherwise. */
  cancel(request: { caller: Caller; id: string }): Promise<TaskDetail>;
  /** Does the work of a failed task again as a new task, once; see `replayTask`. */
  replay(request: { caller: Caller; id: string }): Promise<{ task: Task; made: boolean }>;
  /** The events after a cursor. Waits for the first one as long as the query says, or until the signal aborts. */
  events(request: {
    workspaceId: string;
    id: string;
    query: EventQuery;
    signal: AbortSignal;
  }): Promise<EventPage>;
};

/** How long a reader of events waits before it looks again without having heard the bell. */
const LOOK_AGAIN_MS = 500;
const TASK_ID = /^task_[0-9a-z]{1,40}$/;

const auditOf = (caller: Caller): { actor: string; origin: string } => ({
  actor: caller.actor,
  origin: caller.origin,
});

async function detail(tx: WorkspaceTx, id: string): Promise<TaskDetail> {
  const task = await findTask(tx, id);
  if (!task) throw taskNotFound();
  return {
    ...task,
    artifacts: await findArtifacts(tx, id),
    input_files: task.upload_id === null ? [] : await findInputFiles(tx, task.upload_id),
  };
}

/** Ends the task and answers which tasks ended with it; none when it had been cancelled before. */
async function cancelTask(tx: WorkspaceTx, caller: Caller, id: string): Promise<string[]> {
  const [row] = await tx.query<{ ended: boolean }>({
    text: "SELECT end_task(current_workspace(), $1, 'cancelled', 'requested', NULL, $2) AS ended",
    values: [id, JSON.stringify({ cause: "requested", by: caller.actor })],
  });
  if (!row?.ended) {
    const task = await findTask(tx, id);
    if (!task) throw taskNotFound();
    if (task.state !== "cancelled") throw taskAlreadyEnded(task.state);
    return [];
  }
  const family = await tx.query<{ id: string }>({
    text: `WITH RECURSIVE family AS (
        SELECT id FROM tasks WHERE workspace_id = current_workspace() AND id = $1
        UNION ALL
        SELECT t.id FROM family f JOIN tasks t ON t.workspace_id = current_workspace() AND t.parent_task_id = f.id AND t.cause = 'parent_ended'
      ) SELECT id FROM family`,
    values: [id],
  });
  await appendAudit(tx, { ...auditOf(caller), action: "task.cancelled", target: id });
  return family.map((member) => member.id);
}

/** The service behind `/v1/tasks`. */
export function createTasks(options: {
  db: Db;
  clock: Clock;
  bell: TaskBell;
  eventBell: EventBell;
}): Tasks {
  const { db, clock, bell, eventBell } = options;

  async function cancel(request: { caller: Caller; id: string }): Promise<TaskDetail> {
    const { caller, id } = request;
    const { ended, task } = await db.withWorkspace(caller.workspaceId, async (tx) => ({
      ended: await cancelTask(tx, caller, id),
      task: await detail(tx, id),
    }));
    for (const taskId of ended) {
      bell.taskEnded(taskId);
      eventBell.ring(taskId);
    }
    // A slot became free, and a parent that waited for this task may go on.
    if (ended.length > 0) bell.runReady();
    return task;
  }

  async function events(request: Parameters<Tasks["events"]>[0]): Promise<EventPage> {
    const { workspaceId, id, query, signal } = request;
    // There are other streams than those of tasks.
    if (!TASK_ID.test(id)) throw taskNotFound();
    const untilMs = clock.monotonicMs() + query.wait_ms;
    for (;;) {
      const listening = eventBell.listen(id);
      try {
        const page = await db.withWorkspace(workspaceId, (tx) => readEvents(tx, id, query));
        if (!page) throw taskNotFound();
        const leftMs = untilMs - clock.monotonicMs();
        if (page.data.length > 0 || page.closed || leftMs <= 0 || signal.aborted) return page;
        await listening.wait(Math.min(leftMs, LOOK_AGAIN_MS), signal);
      } finally {
        listening.stop();
      }
    }
  }

  return {
    async create({ caller, body, idempotencyKey }) {
      const outcome = await once(
        db,
        { caller, route: "POST /v1/tasks", key: idempotencyKey, body },
        (tx) => createTask(tx, { caller, body }),
      );
      faultPoint("task.committed");
      if (!outcome.replayed) bell.runReady(outcome.answer.id);
      return outcome;
    },
    get: (workspaceId, id) => db.withWorkspace(workspaceId, (tx) => detail(tx, id)),
    async replay(request) {
      const replay = await db.withWorkspace(request.caller.workspaceId, (tx) =>
        replayTask(tx, request),
      );
      if (replay.made) bell.runReady(replay.task.id);
      return replay;
    },
    async list(workspaceId, { cursor, state, cause, agent, limit }) {
      if (cursor !== undefined && !TASK_ID.test(cursor)) {
        throw validationFailed([
          { field: "cursor", message: "must be the next_cursor of an earlier page" },
        ]);
      }
      const data = await db.withWorkspace(workspaceId, (tx) =>
        findTasks(tx, { before: cursor, state, cause, agent, limit: limit + 1 }),
      );
      const page = data.slice(0, limit);
      return { data: page, next_cursor: data.length > limit ? (page.at(-1)?.id ?? null) : null };
    },
    cancel,
    events,
  };
}

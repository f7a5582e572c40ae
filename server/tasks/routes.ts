import type { FastifyRequest } from "fastify";
import { z } from "zod";
import {
  answerQuestionSchema,
  createTaskSchema,
  listTasksSchema,
  taskDetailSchema,
  taskListSchema,
  taskSchema,
} from "@guildhall/sdk/contract/task.ts";
import { principalOf } from "../identity/guard.ts";
import type { Http } from "../platform/http.ts";
import type { Caller } from "./caller.ts";
import { parseIdempotencyKey } from "./idempotency.ts";
import type { Questions } from "./questions.ts";
import { addEventRoutes } from "./routes-events.ts";
import { LIST_TEXT_CHARS } from "./task-queries.ts";
import type { Tasks } from "./tasks.ts";

const idParams = z.object({ id: z.string() });

/** On whose behalf a guarded request acts. */
export function callerOf(request: FastifyRequest): Caller {
  const { workspaceId, actor } = principalOf(request);
  return { workspaceId, actor, origin: request.clientAddress };
}

function addCreateTask(app: Http, tasks: Tasks): void {
  app.route({
    method: "POST",
    url: "/v1/tasks",
    config: { access: "tasks:write", policy: "create_task" },
    schema: {
      operationId: "createTask",
      tags: ["Tasks"],
      summary: "Give an agent a task",
      description:
        "With the header `Idempotency-Key` (1 to 255 visible ASCII characters) a repetition with the same body gets the first answer again, with `idempotent-replayed: true`; another body under the same key is refused. Keys are kept for at least a day.",
      body: createTaskSchema,
      response: { 201: taskSchema },
    },
    handler: async (request, reply) => {
      const { answer, replayed } = await tasks.create({
        caller: callerOf(request),
        body: request.body,
        idempotencyKey: parseIdempotencyKey(request.headers["idempotency-key"]),
      });
      if (replayed) void reply.header("idempotent-replayed", "true");
      return reply.code(201).header("location", `/v1/tasks/${answer.id}`).send(answer);
    },
  });
}

function addReadTasks(app: Http, tasks: Tasks): void {
  app.route({
    method: "GET",
    url: "/v1/tasks",
    config: { access: "tasks:read" },
    schema: {
      operationId: "listTasks",
      tags: ["Tasks"],
      summary: "List tasks, newest first",
      description: `Prompts and results are cut to ${LIST_TEXT_CHARS} characters; the task itself has them whole. Pass \`next_cursor\` as \`cursor\` for the next page.`,
      querystring: listTasksSchema,
      response: { 200: taskListSchema },
    },
    handler: (request) => tasks.list(principalOf(request).workspaceId, request.query),
  });

  app.route({
    method: "GET",
    url: "/v1/tasks/:id",
    config: { access: "tasks:read" },
    schema: {
      operationId: "getTask",
      tags: ["Tasks"],
      summary: "Read a task with its input files and artifacts",
      params: idParams,
      response: { 200: taskDetailSchema },
    },
    handler: (request) => tasks.get(principalOf(request).workspaceId, request.params.id),
  });
}

/** Tasks, their events, cancelling them, and answers to what their agents ask. */
function addReplayTask(app: Http, tasks: Tasks): void {
  app.route({
    method: "POST",
    url: "/v1/tasks/:id/replay",
    config: { access: "tasks:write", policy: "create_task" },
    schema: {
      operationId: "replayTask",
      tags: ["Tasks"],
      summary: "Do a failed task again",
      description:
        "Makes a new task with the same agent, prompt, files, priority and limits (`replay_of` names the failed one, which stays as it is). Of one task there is one replay: asking again answers it, with `idempotent-replayed: true`. Dead tasks are listed by `GET /v1/tasks?cause=attempts_exhausted`.",
      params: idParams,
      response: { 201: taskSchema },
    },
    handler: async (request, reply) => {
      const { task, made } = await tasks.replay({
        caller: callerOf(request),
        id: request.params.id,
      });
      if (!made) void reply.header("idempotent-replayed", "true");
      return reply.code(201).header("location", `/v1/tasks/${task.id}`).send(task);
    },
  });
}

export function addTaskRoutes(app: Http, options: { tasks: Tasks; questions: Questions }): void {
  const { tasks, questions } = options;
  addCreateTask(app, tasks);
  addReadTasks(app, tasks);
  addEventRoutes(app, tasks);
  addReplayTask(app, tasks);

  app.route({
    method: "POST",
    url: "/v1/tasks/:id/cancel",
    config: { access: "tasks:write" },
    schema: {
      operationId: "cancelTask",
      tags: ["Tasks"],
      summary: "Cancel a task and the tasks it delegated",
      description:
        "No event follows `task.cancelled`. A model call that runs at this moment is settled, since the provider bills it. Cancelling twice is the same as once.",
      params: idParams,
      response: { 200: taskDetailSchema },
    },
    handler: (request) => tasks.cancel({ caller: callerOf(request), id: request.params.id }),
  });

  app.route({
    method: "POST",
    url: "/v1/questions/:id/answer",
    config: { access: "tasks:write" },
    schema: {
      operationId: "answerQuestion",
      tags: ["Tasks"],
      summary: "Answer what an agent asked",
      description: "The waiting task goes on. The first answer counts.",
      params: idParams,
      body: answerQuestionSchema,
      response: { 200: taskSchema },
    },
    handler: (request) =>
      questions.answer({
        caller: callerOf(request),
        id: request.params.id,
        answer: request.body.answer,
      }),
  });
}

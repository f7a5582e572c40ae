import type { z } from "zod";
import type { AlertList } from "../contract/alert.ts";
import type { Event, eventListSchema } from "../contract/event.ts";
import type {
  Artifact,
  CreateTask,
  Task,
  TaskDetail,
  TaskState,
  Upload,
} from "../contract/task.ts";
import type { LimitList, simulateCallSchema, SimulatedCall } from "../contract/limit.ts";
import type { WorkspacePlan } from "../contract/plan.ts";
import type {
  Agent,
  apiKeyListSchema,
  createApiKeySchema,
  createdApiKeySchema,
  Me,
  overageSchema,
  setLimitSchema,
  setOverageSchema,
  Usage,
} from "../contract/workspace.ts";
import { followEvents } from "./follow-events.ts";
import { type ClientOptions, createHttp, type Http } from "./http.ts";

export type EventPage = z.infer<typeof eventListSchema>;

/** One file of an upload; `path` is relative and keeps its folders. */
export type InputFile = { path: string; data: Blob };

const segment = encodeURIComponent;

function tasksOf(http: Http) {
  return {
    /** Creates a task. Repeated with the same key it answers the same task, so a lost answer costs nothing. */
    create: (task: CreateTask, idempotencyKey: string = crypto.randomUUID()): Promise<Task> =>
      http.json("POST", "/v1/tasks", {
        json: task,
        headers: { "idempotency-key": idempotencyKey },
        repeatable: true,
      }),
    get: (id: string): Promise<TaskDetail> => http.json("GET", `/v1/tasks/${segment(id)}`),
    /** Newest first. */
    list: (
      query: {
        state?: TaskState;
        cause?: string;
        agent?: string;
        limit?: number;
        cursor?: string;
      } = {},
    ): Promise<{ data: Task[]; next_cursor: string | null }> =>
      http.json("GET", "/v1/tasks", { query }),
    /** Cancelling twice is the same as once; `task_already_ended` (409) when it had ended otherwise. */
    cancel: (id: string): Promise<Task> => http.json("POST", `/v1/tasks/${segment(id)}/cancel`),
    /** Does a failed task again as a new one, once; `task_not_failed` (409) for any other. */
    replay: (id: string): Promise<Task> =>
      http.json("POST", `/v1/tasks/${segment(id)}/replay`, { repeatable: true }),
    /** One page of events after a cursor; with `waitMs` the server waits for the first. */
    events: (
      id: string,
      options: { after: number; waitMs?: number; signal?: AbortSignal },
    ): Promise<EventPage> =>
      http.json("GET", `/v1/tasks/${segment(id)}/events`, {
        query: { after: options.after, wait_ms: options.waitMs },
        ...(options.signal ? { signal: options.signal } : {}),
      }),
    /** All events from a cursor on, live, until the task has ended; one request, however long that takes. */
    stream: (
      id: string,
      options: { after?: number; signal?: AbortSignal } = {},
    ): AsyncGenerator<Event, void, undefined> =>
      followEvents({ http, taskId: id, after: 0, ...options }),
    artifacts: (id: string): Promise<{ data: Artifact[] }> =>
      http.json("GET", `/v1/tasks/${segment(id)}/artifacts`),
  };
}

/** The typed client of the HTTP API. Throws `GuildhallError` (with the problem document) and `ConnectionError`. */
export function createClient(options: ClientOptions) {
  const http = createHttp(options);
  return {
    tasks: tasksOf(http),
    uploads: {
      /** Sends files that belong together; the id goes into `upload_id` of a task. */
      create(files: readonly InputFile[]): Promise<Upload> {
        const body = new FormData();
        for (const file of files) body.append("files", file.data, file.path);
        return http.json("POST", "/v1/uploads", { body });
      },
    },
    artifacts: {
      download: (id: string): Promise<Response> =>
        http.send("GET", `/v1/artifacts/${segment(id)}/content`),
    },
    questions: {
      answer: (id: string, answer: string): Promise<unknown> =>
        http.json("POST", `/v1/questions/${segment(id)}/answer`, { json: { answer } }),
    },
    agents: { list: (): Promise<{ data: Agent[] }> => http.json("GET", "/v1/agents") },
    usage: (): Promise<Usage> => http.json("GET", "/v1/usage"),
    /** The workspace's plan, and what each of its own limits follows from. */
    plan: (): Promise<WorkspacePlan> => http.json("GET", "/v1/plan"),
    me: (): Promise<Me> => http.json("GET", "/v1/me"),
    alerts: {
      /** Newest first; `before` is the `next_before` of the page before. */
      list: (
        query: { before?: number; limit?: number; unread?: boolean } = {},
      ): Promise<AlertList> =>
        http.json("GET", "/v1/alerts", {
          query: { ...query, unread: query.unread ? "true" : undefined },
        }),
      /** Everything up to this `seq` is read. -> how many stay unread */
      markRead: (through: number): Promise<{ unread: number }> =>
        http.json("POST", "/v1/alerts/read", { json: { through } }),
    },
    limits: {
      /** Every limit that can stop work, how it stands, what waits for it, and who changed it. */
      list: (): Promise<LimitList> => http.json("GET", "/v1/limits"),
      /** What each limit would say to a model call. Nothing is held. */
      simulate: (call: z.infer<typeof simulateCallSchema>): Promise<SimulatedCall> =>
        http.json("POST", "/v1/limits/simulate", { json: call, repeatable: true }),
      set: (limit: z.infer<typeof setLimitSchema>): Promise<unknown> =>
        http.json("PUT", "/v1/limits", { json: limit }),
      /** Opts in to so much beyond what the plan includes, a month. */
      setOverage: (
        overage: z.infer<typeof setOverageSchema>,
      ): Promise<z.infer<typeof overageSchema>> =>
        http.json("PUT", "/v1/limits/overage", { json: overage }),
    },
    apiKeys: {
      list: (): Promise<z.infer<typeof apiKeyListSchema>> => http.json("GET", "/v1/api-keys"),
      create: (
        key: z.infer<typeof createApiKeySchema>,
      ): Promise<z.infer<typeof createdApiKeySchema>> =>
        http.json("POST", "/v1/api-keys", { json: key }),
      async revoke(id: string): Promise<void> {
        await http.send("DELETE", `/v1/api-keys/${segment(id)}`);
      },
    },
  };
}

export type Client = ReturnType<typeof createClient>;

import { z } from "zod";
import { limitStopSchema, suspendedStopSchema, unpricedStopSchema } from "./limit.ts";

/** A count of nano-USD (1 nUSD = 10^-9 USD): an integer, so that money is never rounded. */
export const nanoUsd = z.int().min(0);

export const taskStates = [
  "queued",
  "running",
  "waiting",
  "paused",
  "succeeded",
  "failed",
  "cancelled",
] as const;
export type TaskState = (typeof taskStates)[number];
export const terminalTaskStates: readonly TaskState[] = ["succeeded", "failed", "cancelled"];

/** Why a task is parked: what holds it up (`paused`), or whom or what it waits for (`waiting`). */
export const parkedSchema = z.discriminatedUnion("kind", [
  limitStopSchema,
  unpricedStopSchema,
  suspendedStopSchema,
  z.object({ kind: z.literal("question"), question_id: z.string(), question: z.string() }),
  z.object({ kind: z.literal("child"), child_task_id: z.string() }),
]);
export type Parked = z.infer<typeof parkedSchema>;

/** Body of `POST /v1/tasks`. Unknown fields are refused. */
export const createTaskSchema = z.strictObject({
  /** Id of the agent that does the work, for example `gray`. */
  agent: z.string().min(1).max(64),
  /** What to do; at most 100,000 characters. */
  prompt: z.string().trim().min(1).max(100_000),
  /** Short name in lists; made from the prompt when absent. */
  title: z.string().trim().min(1).max(200).optional(),
  /** Files the agent works on: the id that `POST /v1/uploads` gave. They lie under `input/` in the run's folder. */
  upload_id: z.string().optional(),
  /** Higher starts first within the workspace: a level is worth ten minutes of waiting. Default 0. */
  priority: z.int().min(-100).max(100).optional(),
  /** Not before this moment (RFC 3339 with a zone, at most a year ahead); the task is `queued` until then and takes no slot. */
  start_after: z.iso.datetime({ offset: true }).optional(),
  limits: z
    .strictObject({
      /** The most the task may spend on models, nano-USD. Default $0.50. */
      cost_nano_usd: z.int().min(1).max(1_000_000_000_000).optional(),
      /** From its first start, waiting included; milliseconds. */
      wall_time_ms: z
        .int()
        .min(1_000)
        .max(30 * 24 * 3_600_000)
        .optional(),
      agent_time_ms: z
        .int()
        .min(1_000)
        .max(30 * 24 * 3_600_000)
        .optional(),
      model_calls: z.int().min(1).max(10_000).optional(),
      tool_calls: z.int().min(1).max(100_000).optional(),
    })
    .optional(),
});
export type CreateTask = z.infer<typeof createTaskSchema>;

export const artifactSchema = z.object({
  id: z.string(),
  path: z.string(),
  size_bytes: z.int(),
  sha256: z.string(),
  created_at: z.string(),
});
export type Artifact = z.infer<typeof artifactSchema>;
export const artifactListSchema = z.object({ data: z.array(artifactSchema) });

export const taskUsageSchema = z.object({
  /** Settled model cost of the task and its delegated tasks, nano-USD. */
  spent_nano_usd: nanoUsd,
  /** Reserved for model calls that run now, nano-USD. */
  held_nano_usd: nanoUsd,
  agent_time_ms: z.int(),
  model_calls: z.int(),
  tool_calls: z.int(),
  input_tokens: z.int(),
  cache_read_tokens: z.int(),
  cache_write_tokens: z.int(),
  output_tokens: z.int(),
});
export type TaskUsage = z.infer<typeof taskUsageSchema>;

export const taskSchema = z.object({
  id: z.string(),
  agent_id: z.string(),
  title: z.string(),
  prompt: z.string(),
  state: z.enum(taskStates),
  /** Why it failed or was cancelled, for example `attempts_exhausted`, `time_limit`, `loop` (the agent repeated itself), `agent_error`. */
  cause: z.string().nullable(),
  parked: parkedSchema.nullable(),
  upload_id: z.string().nullable(),
  parent_task_id: z.string().nullable(),
  /** The failed task whose work this one does again. */
  replay_of: z.string().nullable(),
  priority: z.int(),
  /** It does not start before this moment. */
  start_after: z.string().nullable(),
  limits: z.object({
    cost_nano_usd: nanoUsd,
    wall_time_ms: z.int(),
    agent_time_ms: z.int(),
    model_calls: z.int(),
    tool_calls: z.int(),
  }),
  usage: taskUsageSchema,
  /** The agent's last words, markdown. */
  result: z.string().nullable(),
  created_by: z.string(),
  created_at: z.string(),
  started_at: z.string().nullable(),
  ended_at: z.string().nullable(),
  /** Sequence number of the newest event of the task's stream. */
  last_seq: z.int(),
});
export type Task = z.infer<typeof taskSchema>;

export const taskDetailSchema = taskSchema.extend({
  artifacts: z.array(artifactSchema),
  input_files: z.array(z.object({ path: z.string(), size_bytes: z.int() })),
});
export type TaskDetail = z.infer<typeof taskDetailSchema>;

/** Query of `GET /v1/tasks`: newest first, by cursor. */
export const listTasksSchema = z.strictObject({
  state: z.enum(taskStates).optional(),
  /** Why it failed or was cancelled; `attempts_exhausted` are the dead ones, which can be replayed. */
  cause: z.string().max(64).optional(),
  agent: z.string().max(64).optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(200).optional(),
});

export const taskListSchema = z.object({
  data: z.array(taskSchema),
  next_cursor: z.string().nullable(),
});

export const uploadSchema = z.object({
  id: z.string(),
  files: z.array(z.object({ path: z.string(), size_bytes: z.int(), sha256: z.string() })),
  created_at: z.string(),
});
export type Upload = z.infer<typeof uploadSchema>;

/** Body of `POST /v1/questions/:id/answer`. */
export const answerQuestionSchema = z.strictObject({
  answer: z.string().trim().min(1).max(20_000),
});

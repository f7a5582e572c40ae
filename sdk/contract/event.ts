import { z } from "zod";
import { artifactSchema, parkedSchema } from "./task.ts";

/** Token counts of one model call, as the provider reported them. */
export const tokenUsageSchema = z.object({
  input_tokens: z.int(),
  cache_read_tokens: z.int(),
  cache_write_tokens: z.int(),
  output_tokens: z.int(),
});

/**
 * Everything that can happen to a task, in the order of its stream (dense `seq` from 1). The page, the office, the
 * replay and the CLI are folds over these. `step` numbers count from 1 within the run and grow through its attempts.
 */
export const eventBodySchema = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("task.created"),
    data: z.object({
      agent_id: z.string(),
      title: z.string(),
      created_by: z.string(),
      cost_limit_nano_usd: z.int(),
    }),
  }),
  /** A worker took the run. `attempt` above 1 means that it goes on where an earlier worker stopped. */
  z.object({
    type: z.literal("run.claimed"),
    data: z.object({ run_id: z.string(), attempt: z.int(), worker_id: z.string() }),
  }),
  z.object({
    type: z.literal("run.resumed"),
    data: z.object({ run_id: z.string(), attempt: z.int(), from_step: z.int() }),
  }),
  z.object({
    type: z.literal("run.released"),
    /** `worker_stopped`, or `attempt_failed`: then the next attempt follows in `retry_in_ms`; null: there is none. */
    data: z.object({
      run_id: z.string(),
      attempt: z.int(),
      reason: z.string(),
      retry_in_ms: z.int().nullable().optional(),
    }),
  }),
  z.object({
    type: z.literal("run.lease_lost"),
    data: z.object({
      run_id: z.string(),
      attempt: z.int(),
      worker_id: z.string().nullable(),
      /** When the next attempt may begin; null: there is none. */
      retry_in_ms: z.int().nullable().optional(),
    }),
  }),
  /** A model call began; `held_nano_usd` is reserved as its worst case. */
  z.object({
    type: z.literal("model.started"),
    data: z.object({
      step: z.int(),
      model: z.string(),
      held_nano_usd: z.int(),
      max_tokens: z.int(),
    }),
  }),
  /** A piece of streamed text, at most ten a second. */
  z.object({ type: z.literal("model.text"), data: z.object({ step: z.int(), text: z.string() }) }),
  z.object({
    type: z.literal("model.completed"),
    data: z.object({
      step: z.int(),
      model: z.string(),
      stop_reason: z.string(),
      text: z.string(),
      usage: tokenUsageSchema,
      cost_nano_usd: z.int(),
      duration_ms: z.int(),
      /** True when the answer came from the journal and cost nothing again. */ replayed:
        z.boolean(),
    }),
  }),
  /** The call failed; the agent tries again (`retry_in_ms`) or the task ends with the next event. */
  z.object({
    type: z.literal("model.failed"),
    data: z.object({
      step: z.int(),
      code: z.string(),
      message: z.string(),
      retry_in_ms: z.int().nullable(),
    }),
  }),
  z.object({
    type: z.literal("tool.started"),
    data: z.object({
      step: z.int(),
      tool_use_id: z.string(),
      name: z.string(),
      input: z.record(z.string(), z.unknown()),
    }),
  }),
  z.object({
    type: z.literal("tool.completed"),
    data: z.object({
      step: z.int(),
      tool_use_id: z.string(),
      name: z.string(),
      is_error: z.boolean(),
      summary: z.string(),
      /** The first 4,000 characters of the result. */ preview: z.string(),
      duration_ms: z.int(),
      /** The worker stopped while a call ran that must not run twice: whether it took effect is unknown, a person is asked. */
      outcome_unknown: z.literal(true).optional(),
    }),
  }),
  z.object({ type: z.literal("artifact.written"), data: artifactSchema }),
  z.object({
    type: z.literal("message.sent"),
    data: z.object({
      message_id: z.string(),
      from_agent_id: z.string(),
      to_agent_id: z.string(),
      subject: z.string(),
    }),
  }),
  z.object({
    type: z.literal("task.delegated"),
    data: z.object({ child_task_id: z.string(), agent_id: z.string(), prompt: z.string() }),
  }),
  z.object({
    type: z.literal("question.answered"),
    data: z.object({ question_id: z.string(), answer: z.string(), answered_by: z.string() }),
  }),
  z.object({ type: z.literal("task.waiting"), data: parkedSchema }),
  z.object({ type: z.literal("task.paused"), data: parkedSchema }),
  z.object({ type: z.literal("task.succeeded"), data: z.object({ result: z.string() }) }),
  z.object({
    type: z.literal("task.failed"),
    data: z.object({ cause: z.string(), message: z.string() }),
  }),
  z.object({
    type: z.literal("task.cancelled"),
    data: z.object({ cause: z.string().optional(), by: z.string().optional() }),
  }),
]);
export type EventBody = z.infer<typeof eventBodySchema>;
export type EventType = EventBody["type"];

/** What every event carries beside its body. */
export const eventEnvelopeSchema = z.object({
  stream_id: z.string(),
  /** 1, 2, 3, ... within the stream. */ seq: z.int(),
  /** ISO 8601. */ at: z.string(),
});
export const eventSchema = z.intersection(eventEnvelopeSchema, eventBodySchema);
export type Event = z.infer<typeof eventSchema>;

/** Query of `GET /v1/tasks/:id/events`. */
export const listEventsSchema = z.strictObject({
  after: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(1_000).default(500),
  /** Wait up to this long for the first new event; milliseconds. */ wait_ms: z.coerce
    .number()
    .int()
    .min(0)
    .max(30_000)
    .default(0),
});
export const eventListSchema = z.object({
  data: z.array(eventSchema),
  last_seq: z.int(),
  /** True once the stream takes no more events. */ closed: z.boolean(),
});

/** Query of `GET /v1/tasks/:id/events/stream`. */
export const streamEventsSchema = listEventsSchema.pick({ after: true });

/**
 * What the stream sends last, as the server-sent event `end`, when the task takes no more events. A stream that stops
 * without it was interrupted: go on with another one after the last `seq`.
 */
export const streamEndSchema = z.object({ last_seq: z.int() });

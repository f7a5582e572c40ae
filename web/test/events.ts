import fc from "fast-check";
import type { Event, EventType, DataOf } from "../events/event-parts.ts";

const step = fc.integer({ min: 1, max: 4 });
const attempt = fc.integer({ min: 1, max: 3 });
const money = fc.integer({ min: 0, max: 1_000_000 });
const word = fc.string({ minLength: 0, maxLength: 8 });
const count = fc.integer({ min: 0, max: 500 });
const usage = fc.record({
  input_tokens: count,
  cache_read_tokens: count,
  cache_write_tokens: count,
  output_tokens: count,
});
const parked: fc.Arbitrary<DataOf<"task.waiting">> = fc.oneof(
  fc.record({
    kind: fc.constant("limit" as const),
    status: fc.constantFrom("reserved" as const, "exhausted" as const),
    meter: fc.constantFrom("model_cost" as const, "agent_time" as const),
    level: fc.constantFrom("task" as const, "workspace" as const),
    scope_id: word,
    scope_name: word,
    period: word,
    limit: money,
    posted: money,
    held: money,
    left: money,
    needed: money,
    resets_at: fc.constant(null),
    raised_by: fc.constant<("owner" | "operator")[]>(["owner"]),
  }),
  fc.record({ kind: fc.constant("question" as const), question_id: word, question: word }),
  fc.record({ kind: fc.constant("child" as const), child_task_id: word }),
);

/** Data of every event type, from small ranges so that steps, attempts and paths meet again. */
const dataByType: { [T in EventType]: fc.Arbitrary<DataOf<T>> } = {
  "task.created": fc.record({
    agent_id: word,
    title: word,
    created_by: word,
    cost_limit_nano_usd: money,
  }),
  "run.claimed": fc.record({ run_id: word, attempt, worker_id: word }),
  "run.resumed": fc.record({ run_id: word, attempt, from_step: step }),
  "run.released": fc.record({ run_id: word, attempt, reason: word }),
  "run.lease_lost": fc.record({ run_id: word, attempt, worker_id: fc.option(word) }),
  "model.started": fc.record({ step, model: word, held_nano_usd: money, max_tokens: count }),
  "model.text": fc.record({ step, text: word }),
  "model.completed": fc.record({
    step,
    model: word,
    stop_reason: word,
    text: word,
    usage,
    cost_nano_usd: money,
    duration_ms: count,
    replayed: fc.boolean(),
  }),
  "model.failed": fc.record({ step, code: word, message: word, retry_in_ms: fc.option(count) }),
  "tool.started": fc.record({
    step,
    tool_use_id: fc.constantFrom("a", "b"),
    name: word,
    input: fc.dictionary(word, fc.integer()),
  }),
  "tool.completed": fc.record(
    {
      step,
      tool_use_id: fc.constantFrom("a", "b"),
      name: word,
      is_error: fc.boolean(),
      summary: word,
      preview: word,
      duration_ms: count,
      outcome_unknown: fc.constant(true as const),
    },
    {
      requiredKeys: [
        "step",
        "tool_use_id",
        "name",
        "is_error",
        "summary",
        "preview",
        "duration_ms",
      ],
    },
  ),
  "artifact.written": fc.record({
    id: word,
    path: fc.constantFrom("report.md", "data.csv"),
    size_bytes: count,
    sha256: word,
    created_at: word,
  }),
  "message.sent": fc.record({
    message_id: word,
    from_agent_id: word,
    to_agent_id: word,
    subject: word,
  }),
  "task.delegated": fc.record({ child_task_id: word, agent_id: word, prompt: word }),
  "question.answered": fc.record({ question_id: word, answer: word, answered_by: word }),
  "task.waiting": parked,
  "task.paused": parked,
  "task.succeeded": fc.record({ result: word }),
  "task.failed": fc.record({ cause: word, message: word }),
  "task.cancelled": fc.record({ cause: word, by: word }),
};

const body = fc.oneof(
  ...Object.entries(dataByType).map(([type, data]) =>
    (data as fc.Arbitrary<unknown>).map((value) => ({ type, data: value })),
  ),
);

export type EventBodyOf<T extends EventType = EventType> = {
  [K in T]: { type: K; data: DataOf<K> };
}[T];

/** The bodies as a stream of one task, numbered from 1. */
export function streamOf(bodies: readonly EventBodyOf[]): Event[] {
  return bodies.map((each, index) => ({
    ...each,
    stream_id: "task_1",
    seq: index + 1,
    at: new Date(Date.UTC(2026, 10, 23, 14, 0, index)).toISOString(),
  }));
}

/** Streams of any events in any order: also such as no server would write. */
export const anyStream: fc.Arbitrary<Event[]> = fc
  .array(body, { minLength: 1, maxLength: 40 })
  .map((bodies) => streamOf(bodies as EventBodyOf[]));

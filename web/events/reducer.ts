import type { DataOf, Event, Stamp } from "./event-parts.ts";
import {
  endSteps,
  interruptSteps,
  modelCompleted,
  modelFailed,
  modelStarted,
  modelText,
  parkSteps,
  toolCompleted,
  toolStarted,
} from "./steps.ts";
import type { Attempt, Note, TaskView } from "./task-view.ts";

export type Reduction =
  /** The event was the next one; `view` has it folded in. */
  | { status: "applied"; view: TaskView }
  /** The event is folded in already; nothing changed. */
  | { status: "duplicate"; view: TaskView }
  /** Events between are missing; nothing changed. Read from `view.lastSeq` again. */
  | { status: "gap"; view: TaskView; missingFrom: number; missingTo: number };

/**
 * Folds one event into the view. Pure, and idempotent by `seq`: only the event right after `view.lastSeq` changes
 * anything, so whatever arrives twice or too early can be handed in without harm.
 */
export function reduce(view: TaskView, event: Event): Reduction {
  if (event.seq <= view.lastSeq) return { status: "duplicate", view };
  if (event.seq > view.lastSeq + 1) {
    return { status: "gap", view, missingFrom: view.lastSeq + 1, missingTo: event.seq - 1 };
  }
  return { status: "applied", view: { ...apply(view, event), lastSeq: event.seq } };
}

/** Folds events that are in order and without a gap, such as a page of `GET /v1/tasks/:id/events`. */
export function reduceAll(view: TaskView, events: readonly Event[]): TaskView {
  return events.reduce((folded, event) => reduce(folded, event).view, view);
}

function apply(view: TaskView, event: Event): TaskView {
  const at: Stamp = { seq: event.seq, at: event.at };
  switch (event.type) {
    case "task.created":
      return created(view, event.data, at);
    case "run.claimed":
      return claimed(view, event.data, at);
    case "run.resumed":
      return resumed(view, event.data, at);
    case "run.released":
      return released(view, event.data, at);
    case "run.lease_lost":
      return leaseLost(view, event.data, at);
    case "model.started":
      return modelStarted(view, event.data, at);
    case "model.text":
      return modelText(view, event.data);
    case "model.completed":
      return modelCompleted(view, event.data, at);
    case "model.failed":
      return modelFailed(view, event.data);
    case "tool.started":
      return toolStarted(view, event.data, at);
    case "tool.completed":
      return toolCompleted(view, event.data, at);
    case "artifact.written":
      return artifactWritten(view, event.data, at);
    case "message.sent":
      return noted(view, at, {
        type: "message",
        fromAgentId: event.data.from_agent_id,
        toAgentId: event.data.to_agent_id,
        subject: event.data.subject,
      });
    case "task.delegated":
      return noted(view, at, {
        type: "delegated",
        childTaskId: event.data.child_task_id,
        agentId: event.data.agent_id,
        prompt: event.data.prompt,
      });
    case "question.answered":
      return noted({ ...view, state: "queued", parked: undefined }, at, {
        type: "answered",
        answer: event.data.answer,
        answeredBy: event.data.answered_by,
      });
    case "task.waiting":
      return parked(view, { type: "waiting", parked: event.data }, at);
    case "task.paused":
      return parked(view, { type: "paused", parked: event.data }, at);
    case "task.succeeded":
      return {
        ...ended(view, { type: "succeeded" }, at),
        state: "succeeded",
        result: event.data.result,
      };
    case "task.failed":
      return {
        ...ended(view, { type: "failed", ...event.data }, at),
        state: "failed",
        cause: event.data.cause,
      };
    case "task.cancelled":
      return {
        ...ended(view, { type: "cancelled", cause: event.data.cause, by: event.data.by }, at),
        state: "cancelled",
        cause: event.data.cause,
      };
    default:
      // A newer server may tell more than this page knows: the event counts, and shows nothing.
      return view;
  }
}

function noted(view: TaskView, { seq, at }: Stamp, note: Note): TaskView {
  return { ...view, entries: [...view.entries, { kind: "note", key: `note-${seq}`, at, note }] };
}

function created(view: TaskView, data: DataOf<"task.created">, at: Stamp): TaskView {
  return noted(
    {
      ...view,
      agentId: data.agent_id,
      title: data.title,
      costLimitNanoUsd: data.cost_limit_nano_usd,
    },
    at,
    { type: "created", agentId: data.agent_id, createdBy: data.created_by },
  );
}

function claimed(view: TaskView, data: DataOf<"run.claimed">, at: Stamp): TaskView {
  const attempt: Attempt = { attempt: data.attempt, workerId: data.worker_id, at: at.at };
  return noted(
    {
      // What an earlier worker left open without a word is not running any more.
      ...interruptSteps(view),
      state: "running",
      parked: undefined,
      startedAt: view.startedAt ?? at.at,
      attempts: [...view.attempts, attempt],
    },
    at,
    { type: "claimed", attempt: data.attempt, workerId: data.worker_id },
  );
}

function changeAttempt(
  view: TaskView,
  number: number,
  change: (attempt: Attempt) => Attempt,
): TaskView {
  const index = view.attempts.findLastIndex((attempt) => attempt.attempt === number);
  const attempt = view.attempts[index];
  if (attempt === undefined) return view;
  return { ...view, attempts: view.attempts.with(index, change(attempt)) };
}

function resumed(view: TaskView, data: DataOf<"run.resumed">, at: Stamp): TaskView {
  const changed = changeAttempt(view, data.attempt, (attempt) => ({
    ...attempt,
    fromStep: data.from_step,
  }));
  return noted(changed, at, {
    type: "resumed",
    attempt: data.attempt,
    fromStep: data.from_step,
  });
}

function released(view: TaskView, data: DataOf<"run.released">, at: Stamp): TaskView {
  const changed = changeAttempt(view, data.attempt, (attempt) => ({
    ...attempt,
    stopped: { at: at.at, how: "released", reason: data.reason },
  }));
  return noted({ ...interruptSteps(changed), state: "queued" }, at, {
    type: "released",
    attempt: data.attempt,
    reason: data.reason,
  });
}

function leaseLost(view: TaskView, data: DataOf<"run.lease_lost">, at: Stamp): TaskView {
  const changed = changeAttempt(view, data.attempt, (attempt) => ({
    ...attempt,
    stopped: { at: at.at, how: "lease_lost" },
  }));
  return noted({ ...interruptSteps(changed), state: "queued" }, at, {
    type: "lease_lost",
    attempt: data.attempt,
  });
}

function artifactWritten(
  view: TaskView,
  artifact: DataOf<"artifact.written">,
  at: Stamp,
): TaskView {
  // Written again, a file keeps its place in the list.
  const index = view.artifacts.findIndex((known) => known.path === artifact.path);
  const artifacts =
    index < 0 ? [...view.artifacts, artifact] : view.artifacts.with(index, artifact);
  return noted({ ...view, artifacts }, at, {
    type: "artifact",
    path: artifact.path,
    sizeBytes: artifact.size_bytes,
  });
}

function parked(
  view: TaskView,
  note: Extract<Note, { type: "waiting" | "paused" }>,
  at: Stamp,
): TaskView {
  const stopped = parkSteps(view);
  const last = stopped.attempts.at(-1);
  const changed =
    last === undefined || last.stopped !== undefined
      ? stopped
      : changeAttempt(stopped, last.attempt, (attempt) => ({
          ...attempt,
          stopped: { at: at.at, how: "parked" },
        }));
  return noted({ ...changed, state: note.type, parked: note.parked }, at, note);
}

function ended(view: TaskView, note: Note, at: Stamp): TaskView {
  return noted({ ...endSteps(view), parked: undefined, endedAt: at.at }, at, note);
}

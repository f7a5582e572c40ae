import type { Task } from "@guildhall/sdk/contract/task.ts";
import type { ModelEntry, TaskView, ToolEntry } from "../events/task-view.ts";
import { waitsForStart } from "../tasks/task-start.ts";
import { hasEnded } from "../tasks/task-state.tsx";

/** What an agent is doing. `task` is what it is doing it for. Times in ISO 8601. */
export type AgentStatus =
  | { kind: "idle"; since: string | undefined }
  | { kind: "queued"; task: Task; place: number }
  | { kind: "thinking"; task: Task; entry: ModelEntry | undefined }
  | { kind: "tool"; task: Task; entry: ToolEntry }
  | { kind: "retrying"; task: Task; message: string; retryInMs: number }
  | { kind: "blocked"; task: Task }
  | { kind: "approval"; task: Task; question: string }
  | { kind: "paused"; task: Task }
  | { kind: "offline"; task: Task; since: string }
  | { kind: "error"; task: Task }
  | { kind: "done"; task: Task };

/** When several apply, the one that a person should see first. */
const priority: readonly AgentStatus["kind"][] = [
  "error",
  "paused",
  "approval",
  "offline",
  "retrying",
  "blocked",
  "tool",
  "thinking",
  "queued",
  "done",
  "idle",
];

/** How long a finished task is celebrated, and a failed one shown when nothing newer has happened. */
const doneForMs = 10_000;
const errorForMs = 10 * 60_000;

/**
 * An agent's state from its tasks (any order) and from the views of those that are followed. Pure: the same facts at
 * the same time give the same state, in the list, in the scene and in a replay.
 */
export function agentStatus({
  agentId,
  tasks,
  views,
  nowMs,
}: {
  agentId: string;
  tasks: readonly Task[];
  views: ReadonlyMap<string, TaskView>;
  nowMs: number;
}): AgentStatus {
  const own = tasks.filter((task) => task.agent_id === agentId);
  // What is to start later is no work yet, and nobody stands in line behind it.
  const isDue = (task: Task) => waitsForStart(task, nowMs) === undefined;
  const active = own.filter((task) => !hasEnded(task.state) && isDue(task));
  const queue = tasks.filter((task) => task.state === "queued" && isDue(task)).toSorted(byCreation);
  const candidates = active.map((task) => activeStatus(task, views.get(task.id), queue));
  const last = own
    .filter((task) => task.ended_at !== null)
    .toSorted(byEnd)
    .at(-1);
  candidates.push(endedStatus(last, active, nowMs));
  return candidates.toSorted(byPriority)[0] ?? { kind: "idle", since: undefined };
}

const byCreation = (left: Task, right: Task) => compare(left.created_at, right.created_at);
const byEnd = (left: Task, right: Task) => compare(left.ended_at ?? "", right.ended_at ?? "");
const byPriority = (left: AgentStatus, right: AgentStatus) =>
  priority.indexOf(left.kind) - priority.indexOf(right.kind);

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function activeStatus(task: Task, view: TaskView | undefined, queue: readonly Task[]): AgentStatus {
  switch (task.state) {
    case "paused":
      return { kind: "paused", task };
    case "waiting":
      return task.parked?.kind === "question"
        ? { kind: "approval", task, question: task.parked.question }
        : { kind: "blocked", task };
    case "queued": {
      const stopped = view?.attempts.at(-1)?.stopped;
      return stopped?.how === "lease_lost"
        ? { kind: "offline", task, since: stopped.at }
        : { kind: "queued", task, place: queue.findIndex((each) => each.id === task.id) + 1 };
    }
    default:
      return runningStatus(task, view);
  }
}

function runningStatus(task: Task, view: TaskView | undefined): AgentStatus {
  const entry = view?.entries.findLast((each) => each.kind !== "note");
  if (entry?.kind === "tool" && entry.status === "running") return { kind: "tool", task, entry };
  if (entry?.kind !== "model") return { kind: "thinking", task, entry: undefined };
  if (entry.status === "failed" && typeof entry.failure?.retryInMs === "number") {
    const { message, retryInMs } = entry.failure;
    return { kind: "retrying", task, message, retryInMs };
  }
  return { kind: "thinking", task, entry };
}

function endedStatus(last: Task | undefined, active: readonly Task[], nowMs: number): AgentStatus {
  const endedMs = last?.ended_at ? Date.parse(last.ended_at) : Number.NaN;
  const age = nowMs - endedMs;
  // Whoever works again has left the old failure behind.
  if (last?.state === "failed" && age < errorForMs && active.length === 0) {
    return { kind: "error", task: last };
  }
  if (last?.state === "succeeded" && age < doneForMs) return { kind: "done", task: last };
  return { kind: "idle", since: last?.ended_at ?? undefined };
}

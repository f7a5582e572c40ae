import type { TokenUsage, ToolInput } from "./event-parts.ts";
import type { Artifact, Parked, TaskState } from "@guildhall/sdk/contract/task.ts";

/** One model call as the transcript shows it. Money in nano-USD, times in ISO 8601. */
export type ModelEntry = {
  kind: "model";
  key: string;
  step: number;
  at: string;
  model: string;
  /** What has been streamed so far; the whole text once it is done. */
  text: string;
  status: "running" | "parked" | "done" | "failed" | "interrupted";
  heldNanoUsd: number;
  maxTokens: number;
  /** How often this call was begun: above 1 after a failure or a change of worker. */
  tries: number;
  outcome?: {
    stopReason: string;
    usage: TokenUsage;
    costNanoUsd: number;
    durationMs: number;
    replayed: boolean;
  };
  failure?: { code: string; message: string; retryInMs: number | null };
};

export type ToolEntry = {
  kind: "tool";
  key: string;
  step: number;
  at: string;
  toolUseId: string;
  name: string;
  input: ToolInput;
  /** unknown: nobody can tell whether it took effect, and it does not run again. */
  status: "running" | "parked" | "done" | "failed" | "unknown" | "interrupted";
  outcome?: { summary: string; preview: string; durationMs: number };
};

/** Something that happened beside the steps: an attempt, a message, a limit, the end. */
export type NoteEntry = {
  kind: "note";
  key: string;
  at: string;
  note: Note;
};

export type Note =
  | { type: "created"; agentId: string; createdBy: string }
  | { type: "claimed"; attempt: number; workerId: string }
  | { type: "resumed"; attempt: number; fromStep: number }
  | { type: "released"; attempt: number; reason: string }
  | { type: "lease_lost"; attempt: number }
  | { type: "artifact"; path: string; sizeBytes: number }
  | { type: "message"; fromAgentId: string; toAgentId: string; subject: string }
  | { type: "delegated"; childTaskId: string; agentId: string; prompt: string }
  | { type: "answered"; answer: string; answeredBy: string }
  | { type: "waiting"; parked: Parked }
  | { type: "paused"; parked: Parked }
  | { type: "succeeded" }
  | { type: "failed"; cause: string; message: string }
  | { type: "cancelled"; cause: string | undefined; by: string | undefined };

export type Entry = ModelEntry | ToolEntry | NoteEntry;

/** One worker's try at the run. */
export type Attempt = {
  attempt: number;
  workerId: string;
  at: string;
  /** Set when it went on where an earlier attempt stopped. */
  fromStep?: number;
  /** How it stopped, when it was not the end of the task. */
  stopped?: { at: string; how: "released" | "lease_lost" | "parked"; reason?: string };
};

/** A task as its events tell it: the fold that the transcript, the office and later the replay draw. */
export type TaskView = {
  taskId: string;
  /** Sequence number of the last event that is folded in; 0 before the first. */
  lastSeq: number;
  state: TaskState;
  agentId: string | undefined;
  title: string | undefined;
  costLimitNanoUsd: number | undefined;
  parked: Parked | undefined;
  cause: string | undefined;
  result: string | undefined;
  startedAt: string | undefined;
  endedAt: string | undefined;
  entries: readonly Entry[];
  attempts: readonly Attempt[];
  artifacts: readonly Artifact[];
  /** Settled cost of the calls in this stream; delegated tasks have streams of their own. */
  spentNanoUsd: number;
  /** Reserved for the call that runs now. */
  heldNanoUsd: number;
  usage: TokenUsage;
  modelCalls: number;
  toolCalls: number;
};

export function emptyTaskView(taskId: string): TaskView {
  return {
    taskId,
    lastSeq: 0,
    state: "queued",
    agentId: undefined,
    title: undefined,
    costLimitNanoUsd: undefined,
    parked: undefined,
    cause: undefined,
    result: undefined,
    startedAt: undefined,
    endedAt: undefined,
    entries: [],
    attempts: [],
    artifacts: [],
    spentNanoUsd: 0,
    heldNanoUsd: 0,
    usage: { input_tokens: 0, cache_read_tokens: 0, cache_write_tokens: 0, output_tokens: 0 },
    modelCalls: 0,
    toolCalls: 0,
  };
}

import type { EventBody } from "@guildhall/sdk/contract/event.ts";
import type { Agent } from "../agents/agents.ts";
import type { AppError } from "../platform/errors.ts";
import type { Logger } from "../platform/log.ts";
import type { Secret } from "../platform/secret.ts";
import type { RunFolder } from "../tools/run-folder.ts";
import type { TeamPort } from "../tools/team/team-port.ts";
import type { ToolRegistry } from "../tools/tools.ts";
import type { ParkReason } from "./park-reason.ts";
import type { Step } from "./step.ts";

/** How an execution ended, other than by an abort of its signal. */
export type RunOutcome =
  | { status: "succeeded"; result: string }
  /** `cause` is a stable name (`loop`, `call_limit`, `model_unavailable`, ...), `message` a sentence for people. */
  | { status: "failed"; cause: string; message: string }
  /** Cannot go on before something happens elsewhere. */
  | { status: "parked"; state: "waiting" | "paused"; reason: ParkReason }
  /** Stopped between two steps because it was asked to: another worker goes on. */
  | { status: "yielded" }
  /** Somebody else holds the run, or it has ended: nothing more is to be done or written. */
  | { status: "lost" };

/** A file that a tool step created or replaced, relative to the run's folder. */
export type WrittenFile = { path: string; sizeBytes: number };

/**
 * The durable side of a run. Every method is fenced by the attempt's lease: when the lease is lost, it aborts the
 * run's signal and throws its reason, and nothing was written. A step and the events that tell of it are one
 * transaction, so neither is ever seen without the other.
 */
export type RunRecord = {
  /** The steps of all attempts so far, by step number from 1 without a gap. */
  loadSteps(): Promise<Step[]>;
  /**
   * Keeps what a tool left in the run's folder, before its result is stored. When there is no room for it the folder is
   * made what it was before the tool ran, and the refusal is answered.
   */
  keepFiles(): Promise<AppError | undefined>;
  /**
   * Stores a step, with the state of the run's folder. Whoever repeats a store whose answer was lost changes nothing. `wrote` also stores the file as an
   * artifact of the task, with its event.
   */
  saveStep(save: {
    step: Step;
    events: readonly EventBody[];
    wrote?: WrittenFile | undefined;
  }): Promise<void>;
  /** What was posted for a hold, nano-USD; 0 when the call was not metered. */
  postedNanoUsd(holdId: string): Promise<number>;
  /** Tells of something that is no step. Best effort: it never fails the run. */
  emit(event: EventBody): void;
  /** Streamed text of a model step, coalesced before it becomes an event. */
  emitText(stepNo: number, text: string): void;
};

/** All that a runtime gets for one execution. */
export type RunContext = {
  run: { workspaceId: string; taskId: string; runId: string; attempt: number };
  agent: Agent;
  prompt: string;
  /** How many files lie under `input/`. */
  inputFileCount: number;
  toolCallLimit: number;
  /** Where model calls go, and the token that is valid as long as this attempt's lease. */
  gateway: { baseUrl: string; token: Secret };
  tools: ToolRegistry;
  folder: RunFolder;
  /** Colleagues and people; absent where there are none. */
  team?: TeamPort;
  record: RunRecord;
  /** Aborts when the run must stop at once: lease lost, task cancelled, a limit of time reached. */
  signal: AbortSignal;
  /** True once the worker shuts down: stop before the next step and answer `yielded`. */
  shouldYield(): boolean;
  log: Logger;
};

/**
 * Executes one attempt of a run. Answers how it ended, or throws the reason of `ctx.signal`. Steps go through
 * `ctx.record` rather than through an iterator of events, because a step must be durable before the next begins.
 */
export type Runtime = { run(ctx: RunContext): Promise<RunOutcome> };

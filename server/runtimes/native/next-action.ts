import { callsUsedUp } from "../park-reason.ts";
import type { RunOutcome } from "../runtime.ts";
import type { ModelStep, Step, ToolStep, ToolUse } from "../step.ts";
import { findRepetition, repetitionMessage, repetitionTold } from "./loop-breaker.ts";
import { textOf, toolUsesOf } from "./messages.ts";

/** What a run does next, given what it has done. */
export type NextAction =
  | { do: "call_model"; stepNo: number }
  | { do: "run_tool"; stepNo: number; use: ToolUse }
  /** The step began in an earlier attempt, or parked. */
  | { do: "resume_tool"; step: ToolStep }
  /** Whether the call took effect is unknown, and a person may know. */
  | { do: "ask_outcome"; step: ToolStep }
  /** It would repeat what was just done several times: it is answered without being run. */
  | { do: "refuse_tool"; stepNo: number; use: ToolUse; text: string }
  | { do: "end"; outcome: RunOutcome };

export type RunLimits = { toolCallLimit: number; run: { taskId: string } };

/** This many cut answers in a row end the run. */
const CUT_ANSWERS = 4;

function failed(cause: string, message: string): NextAction {
  return { do: "end", outcome: { status: "failed", cause, message } };
}

function startTool(
  steps: readonly Step[],
  { use, toolCallLimit, run }: { use: ToolUse } & RunLimits,
): NextAction {
  const stepNo = steps.length + 1;
  if (steps.filter((step) => step.kind === "tool").length >= toolCallLimit)
    return {
      do: "end",
      outcome: {
        status: "parked",
        state: "paused",
        reason: callsUsedUp({ meter: "tool_calls", taskId: run.taskId, limit: toolCallLimit }),
      },
    };
  const repetition = findRepetition(steps, use);
  if (repetition === undefined) return { do: "run_tool", stepNo, use };
  if (repetition.wasTold) return failed("loop", repetitionMessage(repetition));
  return { do: "refuse_tool", stepNo, use, text: repetitionTold(repetition) };
}

function lastWords(steps: readonly Step[]): string {
  const spoken = steps.findLast((step) => step.kind === "model" && textOf(step) !== "");
  return spoken?.kind === "model" ? textOf(spoken) : "";
}

/** How many answers at the end of `steps` stopped for the same reason as the last one. */
function sameStopsInARow(steps: readonly Step[], reason: string): number {
  const answers = steps.filter((step) => step.kind === "model");
  return answers.length - 1 - answers.findLastIndex((step) => step.body.stop_reason !== reason);
}

/** What follows an answer whose tool calls, if any, have their results. */
function afterAnswer(steps: readonly Step[], last: ModelStep): NextAction {
  const goOn: NextAction = { do: "call_model", stepNo: steps.length + 1 };
  const reason = last.body.stop_reason;
  if (reason === "refusal") return failed("refused", "The model refused to go on with this task.");
  if (reason === "model_context_window_exceeded")
    return failed("context_full", "The conversation no longer fits into the model's context.");
  if (reason === "max_tokens" || reason === "pause_turn") {
    if (sameStopsInARow(steps, reason) < CUT_ANSWERS) return goOn;
    return failed(
      "output_limit",
      `The model's answers were cut at the output limit ${CUT_ANSWERS} times in a row.`,
    );
  }
  if (toolUsesOf(last).length > 0) return goOn;
  return { do: "end", outcome: { status: "succeeded", result: lastWords(steps) } };
}

/** Decides by the stored steps alone, so that a resumed run decides as the first attempt would have. */
export function nextAction(steps: readonly Step[], limits: RunLimits): NextAction {
  const at = steps.findLastIndex((step) => step.kind === "model");
  const last = steps[at];
  if (last?.kind !== "model") return { do: "call_model", stepNo: 1 };
  const results = new Map(
    steps
      .slice(at + 1)
      .flatMap((step) => (step.kind === "tool" ? [[step.body.tool_use_id, step]] : [])),
  );
  for (const use of toolUsesOf(last)) {
    const step = results.get(use.id);
    if (step === undefined) return startTool(steps, { use, ...limits });
    if (step.state === "started") return { do: "resume_tool", step };
    if (step.state === "unknown" && step.body.content === undefined)
      return { do: "ask_outcome", step };
  }
  return afterAnswer(steps, last);
}

import { faultPoint } from "../../platform/fault-points.ts";
import { unreachable } from "../../platform/errors.ts";
import type { RunContext, RunOutcome, Runtime } from "../runtime.ts";
import type { Step } from "../step.ts";
import { takeModelStep, type ModelCallOptions } from "./model-step.ts";
import { nextAction } from "./next-action.ts";
import { refuseToolStep, resumeToolStep, takeToolStep } from "./tool-step.ts";
import { askOutcome } from "./unknown-outcome.ts";

const defaults: ModelCallOptions = {
  maxOutputTokens: 8_192,
  // Longer than gateways take to be replaced, and than most troubles of a provider last.
  retryDelaysMs: [1_000, 4_000, 15_000, 30_000, 60_000],
  // Above what the gateway may take: waiting for budget, its own tries and the call itself.
  callTimeoutMs: 900_000,
};

type StepResult = { status: "stored"; step: Step } | { status: string; outcome: RunOutcome };

async function takeStep(
  ctx: RunContext,
  { steps, options }: { steps: readonly Step[]; options: ModelCallOptions },
): Promise<StepResult> {
  const action = nextAction(steps, ctx);
  switch (action.do) {
    case "call_model":
      return takeModelStep(ctx, { stepNo: action.stepNo, steps, options });
    case "run_tool":
      return takeToolStep(ctx, action);
    case "resume_tool":
      return resumeToolStep(ctx, action.step);
    case "ask_outcome":
      return askOutcome(ctx, action.step);
    case "refuse_tool":
      return refuseToolStep(ctx, action);
    case "end":
      return { status: "ended", outcome: action.outcome };
    default:
      return unreachable(action);
  }
}

/**
 * Our own loop on the Messages protocol: model answer, tool calls in order, model answer, ... Each step is stored
 * before the next begins, and what to do next is decided from the stored steps alone, so that any worker can go on
 * after any of them.
 */
export function createNativeRuntime(options: Partial<ModelCallOptions> = {}): Runtime {
  const callOptions = { ...defaults, ...options };
  return {
    async run(ctx) {
      const steps = await ctx.record.loadSteps();
      if (steps.length > 0 || ctx.run.attempt > 1)
        ctx.record.emit({
          type: "run.resumed",
          data: { run_id: ctx.run.runId, attempt: ctx.run.attempt, from_step: steps.length },
        });
      for (;;) {
        ctx.signal.throwIfAborted();
        if (ctx.shouldYield()) return { status: "yielded" };
        const result = await takeStep(ctx, { steps, options: callOptions });
        if ("outcome" in result) return result.outcome;
        // Step numbers count from 1 without a gap; a resumed step takes the place of its beginning.
        steps[result.step.stepNo - 1] = result.step;
        faultPoint("step.stored");
      }
    },
  };
}

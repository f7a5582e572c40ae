import { setTimeout as delay } from "node:timers/promises";
import { faultPoint } from "../../platform/fault-points.ts";
import type { RunContext, RunOutcome } from "../runtime.ts";
import type { ModelStep, Step } from "../step.ts";
import { textOf } from "./messages.ts";
import { callModel, type ModelAnswer } from "./model-call.ts";
import { readModelFailure } from "./model-failure.ts";

export type ModelCallOptions = {
  maxOutputTokens: number;
  /** Pauses before the second, third, ... try of a call that failed for a passing reason; milliseconds. */
  retryDelaysMs: readonly number[];
  callTimeoutMs: number;
};

/** A provider that asks for more patience than this is treated as away. */
const LONGEST_PAUSE_MS = 60_000;

type StepResult = { status: "stored"; step: ModelStep } | { status: "ended"; outcome: RunOutcome };

async function store(ctx: RunContext, { step, replayed, durationMs }: ModelAnswer): Promise<void> {
  const { hold_id: holdId, model, stop_reason: stopReason, usage } = step.body;
  const costNanoUsd = holdId === null ? 0 : await ctx.record.postedNanoUsd(holdId);
  await ctx.record.saveStep({
    step,
    events: [
      {
        type: "model.completed",
        data: {
          step: step.stepNo,
          model,
          stop_reason: stopReason,
          text: textOf(step),
          usage,
          cost_nano_usd: costNanoUsd,
          duration_ms: durationMs,
          replayed,
        },
      },
    ],
  });
}

/** Waits unless the run is aborted meanwhile: then throws the reason. */
async function pause(ctx: RunContext, ms: number): Promise<void> {
  await delay(ms, undefined, { signal: ctx.signal }).catch(() => undefined);
  ctx.signal.throwIfAborted();
}

/** Gets the next answer of the model and stores it, or says how the run ends without one. */
export async function takeModelStep(
  ctx: RunContext,
  call: { stepNo: number; steps: readonly Step[]; options: ModelCallOptions },
): Promise<StepResult> {
  const { stepNo, steps, options } = call;
  for (let failures = 0; ; failures++) {
    try {
      const onText = (): void => faultPoint("model.text");
      const answer = await callModel(ctx, { ...options, stepNo, steps, failures, onText });
      faultPoint("model.answered");
      await store(ctx, answer);
      return { status: "stored", step: answer.step };
    } catch (error) {
      ctx.signal.throwIfAborted();
      const failure = readModelFailure(error, {
        taskId: ctx.run.taskId,
        model: ctx.agent.model,
      });
      if (failure.kind === "end") return { status: "ended", outcome: failure.outcome };
      const pauseMs = options.retryDelaysMs[failures];
      const waitMs = Math.max(pauseMs ?? 0, failure.retryAfterMs ?? 0);
      const giveUp = pauseMs === undefined || waitMs > LONGEST_PAUSE_MS;
      const { code, message } = failure;
      ctx.log.warn(
        { run_id: ctx.run.runId, step: stepNo, code, err: error },
        "a model call failed",
      );
      ctx.record.emit({
        type: "model.failed",
        data: { step: stepNo, code, message, retry_in_ms: giveUp ? null : waitMs },
      });
      if (giveUp) {
        const outcome: RunOutcome = {
          status: "failed",
          cause: "model_unavailable",
          message: `The model could not be reached after ${failures + 1} tries: ${message}`,
        };
        return { status: "ended", outcome };
      }
      await pause(ctx, waitMs);
      if (ctx.shouldYield()) return { status: "ended", outcome: { status: "yielded" } };
    }
  }
}

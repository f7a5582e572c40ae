import { storableText } from "../../platform/storable-json.ts";
import { shorten } from "../../tools/result-text.ts";
import type { RunContext } from "../runtime.ts";
import type { ToolStep } from "../step.ts";
import type { ToolStepResult } from "./tool-step.ts";

const SHOWN_INPUT_LENGTH = 2_000;

const UNKNOWN =
  "The outcome of this call is unknown: the machine stopped while it ran, and it must not be run twice.";
const NOBODY_TO_ASK = "Find out whether it took effect before you do anything that depends on it.";

function question({ body }: ToolStep): string {
  const shown = shorten(JSON.stringify(body.input), SHOWN_INPUT_LENGTH);
  return `Did ${body.name} take effect? Its worker stopped while it ran, so nobody knows, and it is not run a second time. Look, and say what you found and what the agent is to do; it gets your answer as the result of the call. Its input: ${shown}`;
}

/**
 * Lets a person say what came of a call whose outcome is unknown: the run waits for the answer, which becomes the result
 * of the call. Where there is nobody to ask, the model is left to find out. The call itself is never run again.
 */
export async function askOutcome(ctx: RunContext, step: ToolStep): Promise<ToolStepResult> {
  // Not the key of the call: a tool that itself asks has put its question under that one.
  const idempotencyKey = `${ctx.run.runId}/${step.stepNo}/outcome`;
  const text = question(step);
  const asked = await ctx.team?.ask({ idempotencyKey, question: text });
  if (asked?.status === "open") {
    const reason = { kind: "question" as const, question_id: asked.questionId, question: text };
    return { status: "parked", outcome: { status: "parked", state: "waiting", reason } };
  }
  const content =
    asked === undefined
      ? `${UNKNOWN} ${NOBODY_TO_ASK}`
      : storableText(
          `${UNKNOWN} The person you work for was asked whether it took effect, and answered: ${asked.answer}`,
        );
  const told: ToolStep = { ...step, body: { ...step.body, content, is_error: true } };
  await ctx.record.saveStep({ step: told, events: [] });
  return { status: "stored", step: told };
}

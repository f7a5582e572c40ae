import type { AppError } from "../../platform/errors.ts";
import { faultPoint } from "../../platform/fault-points.ts";
import { storableText } from "../../platform/storable-json.ts";
import { shorten } from "../../tools/result-text.ts";
import type { ToolOutcome, ToolResult } from "../../tools/tools.ts";
import type { RunContext, RunOutcome } from "../runtime.ts";
import type { ToolStep, ToolUse } from "../step.ts";

const PREVIEW_LENGTH = 4_000;
const SHOWN_ARGUMENT_LENGTH = 2_000;

/** Arguments as people see them: a file's whole content is in the artifact, not in the event. */
function shownInput(input: ToolUse["input"]): ToolUse["input"] {
  return Object.fromEntries(
    Object.entries(input).map(([key, value]) => [
      key,
      typeof value === "string" ? shorten(value, SHOWN_ARGUMENT_LENGTH) : value,
    ]),
  );
}

type Finished = { step: ToolStep; result: ToolResult; durationMs: number };

async function finish(ctx: RunContext, { step, result, durationMs }: Finished): Promise<ToolStep> {
  const { tool_use_id: toolUseId, name } = step.body;
  await ctx.record.saveStep({
    step,
    wrote: result.wrote,
    events: [
      {
        type: "tool.completed",
        data: {
          step: step.stepNo,
          tool_use_id: toolUseId,
          name,
          is_error: result.isError,
          summary: result.summary,
          preview: shorten(result.content, PREVIEW_LENGTH),
          duration_ms: durationMs,
          ...(step.state === "unknown" ? { outcome_unknown: true } : {}),
        },
      },
    ],
  });
  return step;
}

/** The result as it is stored and sent: a reloaded one must be the same text. */
function withResult(step: ToolStep, result: ToolResult): ToolStep {
  const { tool_use_id, name, input } = step.body;
  const content = storableText(result.content);
  return {
    ...step,
    state: "done",
    body: { tool_use_id, name, input, content, is_error: result.isError },
  };
}

async function begin(ctx: RunContext, use: ToolUse, stepNo: number): Promise<ToolStep> {
  const step: ToolStep = {
    kind: "tool",
    stepNo,
    state: "started",
    body: { tool_use_id: use.id, name: use.name, input: use.input },
  };
  await ctx.record.saveStep({
    step,
    events: [
      {
        type: "tool.started",
        data: { step: stepNo, tool_use_id: use.id, name: use.name, input: shownInput(use.input) },
      },
    ],
  });
  return step;
}

/** A tool that exists but was not given to this agent is no more callable than one that does not exist. */
function execute(ctx: RunContext, { name, input }: ToolUse, stepNo: number): Promise<ToolOutcome> {
  if (!ctx.agent.tools.includes(name)) {
    const own = ctx.agent.tools.filter((tool) => ctx.tools.find(tool) !== undefined).join(", ");
    return Promise.resolve({
      isError: true,
      content: `There is no tool ${JSON.stringify(shorten(name, 100))} here. The tools are: ${own}.`,
      summary: `${shorten(name, 100)} is not a tool of this agent`,
    });
  }
  const idempotencyKey = `${ctx.run.runId}/${stepNo}`;
  const { folder, signal, team } = ctx;
  return ctx.tools.execute({
    name,
    input,
    ctx: { folder, signal, idempotencyKey, ...(team === undefined ? {} : { team }) },
  });
}

/** The result of a call whose files found no room. */
function notKept(name: string, { publicMessage }: AppError): ToolResult {
  return {
    isError: true,
    content: `What ${name} wrote was not kept, and the folder is as it was before the call. ${publicMessage} Write less, or tell the user that the storage is full.`,
    summary: `The files of ${name} were not kept: the storage is full`,
  };
}

export type ToolStepResult =
  | { status: "stored"; step: ToolStep }
  | { status: "parked"; outcome: RunOutcome };

async function runStarted(ctx: RunContext, step: ToolStep): Promise<ToolStepResult> {
  const { tool_use_id: id, name, input } = step.body;
  const startedAt = performance.now();
  faultPoint("tool.started");
  const outcome = await execute(ctx, { type: "tool_use", id, name, input }, step.stepNo);
  faultPoint("tool.executed");
  if ("reason" in outcome) {
    if (step.body.parked !== true)
      await ctx.record.saveStep({
        step: { ...step, body: { ...step.body, parked: true } },
        events: [],
      });
    const { reason } = outcome;
    return { status: "parked", outcome: { status: "parked", state: "waiting", reason } };
  }
  const durationMs = Math.round(performance.now() - startedAt);
  const refusal = await ctx.record.keepFiles();
  const result = refusal === undefined ? outcome : notKept(name, refusal);
  const done = withResult(step, result);
  return { status: "stored", step: await finish(ctx, { step: done, result, durationMs }) };
}

/** Runs one tool call: stored as started before it runs, and as done before anything follows. */
export async function takeToolStep(
  ctx: RunContext,
  { use, stepNo }: { use: ToolUse; stepNo: number },
): Promise<ToolStepResult> {
  return runStarted(ctx, await begin(ctx, use, stepNo));
}

/**
 * Goes on with a call that an earlier attempt began. What may be repeated runs again under the same idempotency key;
 * what may not is stored as unknown, and never runs again.
 */
export async function resumeToolStep(ctx: RunContext, step: ToolStep): Promise<ToolStepResult> {
  const effect = ctx.tools.find(step.body.name)?.effect;
  if (effect !== "at_most_once" || step.body.parked === true) return runStarted(ctx, step);
  const result: ToolResult = {
    isError: true,
    content: "",
    summary: `Whether ${step.body.name} took effect is unknown: the worker stopped while it ran`,
  };
  const unknown: ToolStep = { ...step, state: "unknown" };
  return {
    status: "stored",
    step: await finish(ctx, { step: unknown, result, durationMs: 0 }),
  };
}

/** Answers a call without running it. */
export async function refuseToolStep(
  ctx: RunContext,
  refusal: { use: ToolUse; stepNo: number; text: string },
): Promise<ToolStepResult> {
  const { use, stepNo, text } = refusal;
  const result: ToolResult = {
    isError: true,
    content: text,
    summary: `${use.name} was not run again: the agent repeats itself`,
  };
  const answered = withResult(await begin(ctx, use, stepNo), result);
  const step: ToolStep = { ...answered, body: { ...answered.body, refused: true } };
  return { status: "stored", step: await finish(ctx, { step, result, durationMs: 0 }) };
}

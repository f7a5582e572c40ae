import type { DataOf, Stamp, TokenUsage } from "./event-parts.ts";
import type { Entry, ModelEntry, TaskView, ToolEntry } from "./task-view.ts";

/** Replaces the newest entry that `matches`, or appends what `change(undefined)` gives. */
function upsert<E extends Entry>(
  entries: readonly Entry[],
  {
    matches,
    change,
  }: { matches: (entry: Entry) => entry is E; change: (found: E | undefined) => E | undefined },
): readonly Entry[] {
  const index = entries.findLastIndex(matches);
  const found = entries[index];
  const changed = change(found !== undefined && matches(found) ? found : undefined);
  if (changed === undefined) return entries;
  return index < 0 ? [...entries, changed] : entries.with(index, changed);
}

const isModelStep =
  (step: number) =>
  (entry: Entry): entry is ModelEntry =>
    entry.kind === "model" && entry.step === step;

const isToolUse =
  ({ step, tool_use_id }: { step: number; tool_use_id: string }) =>
  (entry: Entry): entry is ToolEntry =>
    entry.kind === "tool" && entry.toolUseId === tool_use_id && entry.step === step;

export function modelStarted(view: TaskView, data: DataOf<"model.started">, at: Stamp): TaskView {
  const entries = upsert(view.entries, {
    matches: isModelStep(data.step),
    change: (found): ModelEntry => ({
      kind: "model",
      key: found?.key ?? `model-${at.seq}`,
      step: data.step,
      at: found?.at ?? at.at,
      model: data.model,
      // A repeated call streams its answer from the beginning.
      text: "",
      status: "running",
      heldNanoUsd: data.held_nano_usd,
      maxTokens: data.max_tokens,
      tries: (found?.tries ?? 0) + 1,
    }),
  });
  return { ...view, entries, heldNanoUsd: data.held_nano_usd };
}

export function modelText(view: TaskView, data: DataOf<"model.text">): TaskView {
  const entries = upsert(view.entries, {
    matches: isModelStep(data.step),
    change: (found) => found && { ...found, text: found.text + data.text },
  });
  return { ...view, entries };
}

function addUsage(left: TokenUsage, right: TokenUsage): TokenUsage {
  return {
    input_tokens: left.input_tokens + right.input_tokens,
    cache_read_tokens: left.cache_read_tokens + right.cache_read_tokens,
    cache_write_tokens: left.cache_write_tokens + right.cache_write_tokens,
    output_tokens: left.output_tokens + right.output_tokens,
  };
}

export function modelCompleted(
  view: TaskView,
  data: DataOf<"model.completed">,
  at: Stamp,
): TaskView {
  const entries = upsert(view.entries, {
    matches: isModelStep(data.step),
    change: (found): ModelEntry => ({
      kind: "model",
      key: found?.key ?? `model-${at.seq}`,
      step: data.step,
      at: found?.at ?? at.at,
      model: data.model,
      text: data.text,
      status: "done",
      heldNanoUsd: found?.heldNanoUsd ?? 0,
      maxTokens: found?.maxTokens ?? 0,
      tries: found?.tries ?? 1,
      outcome: {
        stopReason: data.stop_reason,
        usage: data.usage,
        costNanoUsd: data.cost_nano_usd,
        durationMs: data.duration_ms,
        replayed: data.replayed,
      },
    }),
  });
  return {
    ...view,
    entries,
    heldNanoUsd: 0,
    spentNanoUsd: view.spentNanoUsd + data.cost_nano_usd,
    // An answer from the journal was counted when it was first given.
    usage: data.replayed ? view.usage : addUsage(view.usage, data.usage),
    modelCalls: view.modelCalls + 1,
  };
}

export function modelFailed(view: TaskView, data: DataOf<"model.failed">): TaskView {
  const entries = upsert(view.entries, {
    matches: isModelStep(data.step),
    change: (found): ModelEntry | undefined =>
      found && {
        ...found,
        status: "failed",
        failure: { code: data.code, message: data.message, retryInMs: data.retry_in_ms },
      },
  });
  return { ...view, entries, heldNanoUsd: 0 };
}

export function toolStarted(view: TaskView, data: DataOf<"tool.started">, at: Stamp): TaskView {
  const entries = upsert(view.entries, {
    matches: isToolUse(data),
    change: (found): ToolEntry => ({
      kind: "tool",
      key: found?.key ?? `tool-${at.seq}`,
      step: data.step,
      at: found?.at ?? at.at,
      toolUseId: data.tool_use_id,
      name: data.name,
      input: data.input,
      status: "running",
    }),
  });
  return { ...view, entries };
}

export function toolCompleted(view: TaskView, data: DataOf<"tool.completed">, at: Stamp): TaskView {
  const entries = upsert(view.entries, {
    matches: isToolUse(data),
    change: (found): ToolEntry => ({
      kind: "tool",
      key: found?.key ?? `tool-${at.seq}`,
      step: data.step,
      at: found?.at ?? at.at,
      toolUseId: data.tool_use_id,
      name: data.name,
      input: found?.input ?? {},
      status: data.outcome_unknown ? "unknown" : data.is_error ? "failed" : "done",
      outcome: { summary: data.summary, preview: data.preview, durationMs: data.duration_ms },
    }),
  });
  return { ...view, entries, toolCalls: view.toolCalls + 1 };
}

type StepStatus = Exclude<Entry, { kind: "note" }>["status"];

/** The steps in one of the states `from` are in the state `to` now; nothing is reserved for them any more. */
function stopSteps(
  view: TaskView,
  { from, to }: { from: readonly StepStatus[]; to: "interrupted" | "parked" },
): TaskView {
  const stops = (entry: Entry) => entry.kind !== "note" && from.includes(entry.status);
  const entries = view.entries.some(stops)
    ? view.entries.map((entry): Entry => {
        if (entry.kind === "note" || !from.includes(entry.status)) return entry;
        return { ...entry, status: to };
      })
    : view.entries;
  return { ...view, entries, heldNanoUsd: 0 };
}

/** The worker stopped without finishing what it was at. */
export function interruptSteps(view: TaskView): TaskView {
  return stopSteps(view, { from: ["running"], to: "interrupted" });
}

/** What ran waits, and goes on as the same step later. */
export function parkSteps(view: TaskView): TaskView {
  return stopSteps(view, { from: ["running"], to: "parked" });
}

/** The task has ended: what ran or waited will not go on. */
export function endSteps(view: TaskView): TaskView {
  return stopSteps(view, { from: ["running", "parked"], to: "interrupted" });
}

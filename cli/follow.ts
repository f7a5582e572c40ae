import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { Parked } from "@guildhall/sdk/contract/task.ts";
import type { Context } from "./context.ts";
import { type ExitCode, exitCode } from "./exit.ts";
import { duration, plain, usd } from "./format.ts";
import { parkedLine } from "./parked.ts";

type Progress = { midLine: boolean };

function toolMark(call: Extract<Event, { type: "tool.completed" }>["data"]): string {
  if (call.outcome_unknown) return "?";
  return call.is_error ? "✖" : "▸";
}

/** One line per thing that happened; streamed text runs on as it comes. Returns undefined for what needs no line. */
function lineOf(event: Event): string | undefined {
  switch (event.type) {
    case "run.lease_lost":
      return "↻ its worker was lost; another one goes on";
    case "run.resumed":
      return `↻ goes on at step ${event.data.from_step}`;
    case "model.completed": {
      const { usage } = event.data;
      const inputTokens = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
      return `  ${event.data.replayed ? "replayed, no cost" : usd(event.data.cost_nano_usd)} · ${inputTokens} in, ${usage.output_tokens} out · ${duration(event.data.duration_ms)}`;
    }
    case "model.failed":
      return `✖ model call failed: ${event.data.message}${event.data.retry_in_ms === null ? "" : ` Trying again in ${duration(event.data.retry_in_ms)}.`}`;
    case "tool.completed":
      return `${toolMark(event.data)} ${event.data.name}: ${event.data.summary}`;
    case "artifact.written":
      return `  wrote ${event.data.path}`;
    case "message.sent":
      return `✉ to ${event.data.to_agent_id}: ${event.data.subject}`;
    case "task.delegated":
      return `→ delegated to ${event.data.agent_id} as ${event.data.child_task_id}`;
    case "task.waiting":
    case "task.paused":
      return parkedLine(event.data);
    default:
      return undefined;
  }
}

function show(event: Event, progress: Progress): void {
  if (event.type === "model.text") {
    process.stdout.write(plain(event.data.text));
    progress.midLine = !event.data.text.endsWith("\n");
    return;
  }
  const line = lineOf(event);
  if (line === undefined) return;
  endLine(progress);
  process.stdout.write(`${plain(line)}\n`);
}

function endLine(progress: Progress): void {
  if (progress.midLine) process.stdout.write("\n");
  progress.midLine = false;
}

/**
 * Paused until somebody or the calendar changes something. What open calls hold comes back by itself, and soon. Told from
 * the beginning, an old pause may be over: only one that still holds counts.
 */
async function staysPaused(context: Context, event: Event): Promise<boolean> {
  if (event.type !== "task.paused" || isSoonOver(event.data)) return false;
  const { state, parked } = await context.client.tasks.get(event.stream_id);
  return state === "paused" && !(parked !== null && isSoonOver(parked));
}

const isSoonOver = (parked: Parked): boolean =>
  parked.kind === "limit" && parked.status === "reserved";

/** The whole cost, that of delegated tasks included; the events of this task tell only of its own calls. */
async function spentOn(context: Context, taskId: string): Promise<string> {
  return usd((await context.client.tasks.get(taskId)).usage.spent_nano_usd);
}

/**
 * Prints a task's events as they come, until it ends or pauses at a limit that will not let it go on by itself soon. With `json` one event a line.
 * -> the exit code that tells how it went
 */
export async function followTask(context: Context, taskId: string, after = 0): Promise<ExitCode> {
  const progress: Progress = { midLine: false };
  try {
    return await printEvents({ context, taskId, after, progress });
  } finally {
    // A lost connection or a second reader's cancel can come in the middle of a streamed line.
    endLine(progress);
  }
}

async function printEvents(options: {
  context: Context;
  taskId: string;
  after: number;
  progress: Progress;
}): Promise<ExitCode> {
  const { context, taskId, after, progress } = options;
  for await (const event of context.client.tasks.stream(taskId, { after })) {
    if (context.json) context.print(JSON.stringify(event));
    else show(event, progress);
    if (await staysPaused(context, event)) return exitCode.limit;
    if (event.type === "task.succeeded") {
      endLine(progress);
      if (!context.json) context.print(`✓ done · ${await spentOn(context, taskId)}`);
      return exitCode.ok;
    }
    if (event.type === "task.failed" || event.type === "task.cancelled") {
      endLine(progress);
      const why = event.type === "task.failed" ? `failed: ${event.data.message}` : "cancelled";
      if (!context.json) context.print(plain(`✖ ${why} · ${await spentOn(context, taskId)}`));
      return exitCode.failed;
    }
  }
  return exitCode.failed;
}

import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import type { Command } from "commander";
import {
  type Task,
  type TaskDetail,
  type TaskState,
  taskStates,
} from "@guildhall/sdk/contract/task.ts";
import type { Context } from "../context.ts";
import { type ExitCode, exitCode, UsageError } from "../exit.ts";
import { followTask } from "../follow.ts";
import { bytes, counted, duration, parseUsd, plain, table, usd } from "../format.ts";
import { collectInput } from "../input-files.ts";
import { momentForms, momentOf } from "../moment.ts";
import { parkedLine } from "../parked.ts";
import type { Run } from "../run.ts";

type RunFlags = {
  agent: string;
  input: string[];
  title?: string;
  costLimit?: string;
  priority?: string;
  startAfter?: string;
  follow?: boolean;
  out?: string;
  idempotencyKey?: string;
};

const MOST_LISTED = 200;

const collect = (value: string, before: string[]): string[] => [...before, value];

function costLimitOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const amount = parseUsd(text);
  if (amount === undefined || amount === 0)
    throw new UsageError(`--cost-limit ${text}: give dollars, for example 0.50.`);
  return amount;
}

function priorityOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const priority = Number(text);
  if (!Number.isInteger(priority) || priority < -100 || priority > 100)
    throw new UsageError(`--priority ${text}: a whole number from -100 to 100.`);
  return priority;
}

/** Saves the files that a task wrote below `folder`. A path that would leave it is refused. */
async function download(context: Context, task: TaskDetail, folder: string): Promise<string[]> {
  const saved: string[] = [];
  for (const artifact of task.artifacts) {
    const target = resolve(folder, artifact.path);
    if (!target.startsWith(resolve(folder) + sep))
      throw new Error(`${artifact.path} leads out of ${folder}.`);
    const response = await context.client.artifacts.download(artifact.id);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, Buffer.from(await response.arrayBuffer()));
    saved.push(join(folder, artifact.path));
  }
  return saved;
}

async function runTask(context: Context, prompt: string, flags: RunFlags): Promise<ExitCode> {
  if (prompt.trim() === "") throw new UsageError("The prompt is empty: say what is to be done.");
  const costLimit = costLimitOf(flags.costLimit);
  const priority = priorityOf(flags.priority);
  const startAfter = momentOf("--start-after", flags.startAfter, new Date());
  const files = await collectInput(flags.input);
  const upload = files.length > 0 ? await context.client.uploads.create(files) : undefined;
  const task = await context.client.tasks.create(
    {
      agent: flags.agent,
      prompt,
      ...(flags.title === undefined ? {} : { title: flags.title }),
      ...(upload ? { upload_id: upload.id } : {}),
      ...(priority === undefined ? {} : { priority }),
      ...(startAfter === undefined ? {} : { start_after: startAfter }),
      ...(costLimit === undefined ? {} : { limits: { cost_nano_usd: costLimit } }),
    },
    flags.idempotencyKey,
  );
  if (!flags.follow && flags.out === undefined) {
    const when = task.start_after === null ? "" : `, not before ${task.start_after}`;
    context.print(
      context.json ? JSON.stringify(task) : `${task.id} queued for ${task.agent_id}${when}`,
    );
    return exitCode.ok;
  }
  if (!context.json)
    context.print(
      `${task.id} · ${task.agent_id} · never more than ${usd(task.limits.cost_nano_usd)}`,
    );
  const code = await followTask(context, task.id);
  if (flags.out !== undefined) {
    const saved = await download(context, await context.client.tasks.get(task.id), flags.out);
    if (!context.json) for (const path of saved) context.print(`saved ${path}`);
  }
  return code;
}

function rowOf(task: Task): string[] {
  return [
    task.id,
    task.state,
    task.agent_id,
    `${usd(task.usage.spent_nano_usd)} / ${usd(task.limits.cost_nano_usd)}`,
    plain(task.title).slice(0, 60),
  ];
}

async function listTasks(
  context: Context,
  flags: { state?: string; agent?: string; dead?: boolean; limit: string },
): Promise<ExitCode> {
  const state = taskStates.find((known): known is TaskState => known === flags.state);
  if (flags.state !== undefined && !state)
    throw new UsageError(`--state ${flags.state}: one of ${taskStates.join(", ")}.`);
  const limit = Number(flags.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > MOST_LISTED)
    throw new UsageError(`--limit ${flags.limit}: a whole number from 1 to ${MOST_LISTED}.`);
  const page = await context.client.tasks.list({
    limit,
    ...(state ? { state } : {}),
    ...(flags.dead ? { cause: "attempts_exhausted" } : {}),
    ...(flags.agent === undefined ? {} : { agent: flags.agent }),
  });
  if (context.json) context.print(JSON.stringify(page));
  else if (page.data.length === 0 && (state || flags.dead || flags.agent !== undefined))
    context.print("No task matches. All of them: guildhall task list");
  else if (page.data.length === 0)
    context.print(
      'No tasks yet. Give one: guildhall task run --agent gray --input ./data "Profile these files and write report.md" --follow',
    );
  else
    context.print(table(["TASK", "STATE", "AGENT", "SPENT / CAP", "TITLE"], page.data.map(rowOf)));
  return exitCode.ok;
}

async function showTask(context: Context, id: string): Promise<ExitCode> {
  const task = await context.client.tasks.get(id);
  if (context.json) {
    context.print(JSON.stringify(task));
    return exitCode.ok;
  }
  const ran =
    task.started_at === null
      ? `not started${task.start_after === null ? "" : `, not before ${task.start_after}`}`
      : duration(
          Date.parse(task.ended_at ?? new Date().toISOString()) - Date.parse(task.started_at),
        );
  context.print(
    [
      `${task.id} · ${task.agent_id} · ${task.state}${task.cause === null ? "" : ` (${task.cause})`}`,
      plain(task.title),
      `spent ${usd(task.usage.spent_nano_usd)} + ${usd(task.usage.held_nano_usd)} reserved of ${usd(task.limits.cost_nano_usd)} · ${ran}`,
      `${counted(task.usage.model_calls, "model call")} · ${counted(task.usage.tool_calls, "tool call")}`,
      ...(task.parked === null ? [] : [plain(parkedLine(task.parked))]),
      ...task.artifacts.map(
        (artifact) => `  ${plain(artifact.path)} (${bytes(artifact.size_bytes)})`,
      ),
      ...(task.result === null ? [] : ["", plain(task.result)]),
    ].join("\n"),
  );
  return exitCode.ok;
}

function addRunCommand(task: Command, run: Run): void {
  task
    .command("run <prompt>")
    .description("give an agent a task")
    .requiredOption(
      "-a, --agent <id>",
      "who does it: marcus, sable, devonte, yuki, gray or your own",
    )
    .option("-i, --input <path>", "a file or folder to work on (may be repeated)", collect, [])
    .option("-t, --title <text>", "short name in lists")
    .option("-p, --priority <level>", "from -100 to 100; a level is worth ten minutes of waiting")
    .option("--start-after <when>", `not before then: ${momentForms}`)
    .option("-c, --cost-limit <usd>", "the most it may spend on models, for example 0.50")
    .option("-f, --follow", "watch it until it ends")
    .option("-o, --out <folder>", "save the files that it writes here (implies --follow)")
    .option(
      "--idempotency-key <key>",
      "repeating the command with the same key gives the same task",
    )
    .action(run((context, prompt: string, flags: RunFlags) => runTask(context, prompt, flags)));
}

/** `guildhall task …` */
export function addTaskCommands(program: Command, run: Run): void {
  const task = program.command("task").description("give work to agents and watch it");
  addRunCommand(task, run);
  task
    .command("list")
    .description("newest first")
    .option("--state <state>", taskStates.join(", "))
    .option("-a, --agent <id>")
    .option("--dead", "only those that were tried as often as is allowed; see task replay")
    .option("-n, --limit <count>", "how many", "20")
    .action(run(listTasks));
  task.command("show <id>").description("state, cost, files and result").action(run(showTask));
  task
    .command("follow <id>")
    .description("watch a task from its beginning until it ends")
    .action(run((context, id: string) => followTask(context, id)));
  task
    .command("cancel <id>")
    .description("stop it; what it spent so far stays spent")
    .action(
      run(async (context, id: string) => {
        const cancelled = await context.client.tasks.cancel(id);
        context.print(
          context.json ? JSON.stringify(cancelled) : `${cancelled.id} ${cancelled.state}`,
        );
        return exitCode.ok;
      }),
    );
  task
    .command("replay <id>")
    .description("do a failed task again, as a new one with the same limits")
    .option("-f, --follow", "watch it until it ends")
    .action(
      run(async (context, id: string, flags: { follow?: boolean }) => {
        const replay = await context.client.tasks.replay(id);
        if (flags.follow) return followTask(context, replay.id);
        context.print(
          context.json ? JSON.stringify(replay) : `${replay.id} does ${id} again: ${replay.state}`,
        );
        return exitCode.ok;
      }),
    );
  task
    .command("download <id>")
    .description("save the files that a task wrote")
    .option("-o, --out <folder>", "where to", ".")
    .action(
      run(async (context, id: string, flags: { out: string }) => {
        const saved = await download(context, await context.client.tasks.get(id), flags.out);
        context.print(
          context.json
            ? JSON.stringify({ saved })
            : saved.map((path) => `saved ${path}`).join("\n"),
        );
        return exitCode.ok;
      }),
    );
  task
    .command("answer <question> <text>")
    .description("answer a question that an agent asked; its task goes on")
    .action(
      run(async (context, question: string, text: string) => {
        await context.client.questions.answer(question, text);
        context.print(context.json ? JSON.stringify({ answered: question }) : "answered");
        return exitCode.ok;
      }),
    );
}

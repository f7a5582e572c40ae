import type { Command } from "commander";
import type { LimitList, LimitRow, WaitingTask } from "@guildhall/sdk/contract/limit.ts";
import { overageMeters } from "@guildhall/sdk/contract/plan.ts";
import { setLimitSchema } from "@guildhall/sdk/contract/workspace.ts";
import type { Context } from "../context.ts";
import { type ExitCode, exitCode, UsageError } from "../exit.ts";
import { counted, parseUsd, plain, table, usd } from "../format.ts";
import { momentForms, momentOf } from "../moment.ts";
import { meterAmount, meterName, raisersText, scopeText, utcMinute } from "../parked.ts";
import type { Run } from "../run.ts";

const MINUTE_MS = 60_000;
const LONGEST_NAME = 40;

const ON_HIT: Readonly<Record<LimitRow["on_hit"], string>> = {
  pause: "pause",
  queue: "queue",
  "429": "429, try later",
  "402": "402",
  refuse: "refuse",
};

function statusText(row: LimitRow): string {
  const waiting = row.waiting_count === 0 ? "" : `, ${counted(row.waiting_count, "task")} waiting`;
  if (row.status === "ok" || row.status === "stopped" || row.max === null)
    return `${row.status}${waiting}`;
  const part = row.max === 0 ? 100 : Math.floor(((row.used + row.held) / row.max) * 100);
  return `${row.status} ${part} %${waiting}`;
}

function untilText({ temporary, meter }: LimitRow): string {
  if (temporary === null) return "";
  const former = temporary.former === null ? "no limit" : meterAmount(meter, temporary.former);
  return ` until ${utcMinute(temporary.ends_at)}, then ${former}`;
}

function rowOf(row: LimitRow): string[] {
  const amount = (value: number): string => meterAmount(row.meter, value);
  const held = row.held === 0 ? "" : ` + ${amount(row.held)}`;
  const isShared = row.level === "owner" || row.level === "platform";
  const max = row.max === null ? (isShared ? "shared" : "no limit") : amount(row.max);
  const name = row.scope_id === "*" ? "each new task" : scopeText(row).slice(0, LONGEST_NAME);
  return [
    name,
    meterName(row.meter),
    row.period === "all" ? "task" : row.period,
    row.scope_id === "*" ? "–" : `${amount(row.used)}${held}`,
    `${max}${untilText(row)}`,
    ON_HIT[row.on_hit],
    statusText(row),
  ];
}

function waitingLine(task: WaitingTask, needs: string): string {
  return `  ${task.task_id}  ${task.why}${needs}  since ${utcMinute(task.since)}  ${plain(task.title).slice(0, 60)}`;
}

function waitingLines(list: LimitList): string[] {
  const rows = list.data.flatMap((row) => {
    if (row.waiting_count === 0) return [];
    const turns = row.resets_at === null ? "" : `, turns ${utcMinute(row.resets_at)}`;
    const raised = row.raised_by.length === 0 ? "" : `, raised by ${raisersText(row.raised_by)}`;
    return [
      `${meterName(row.meter)} of the ${plain(scopeText(row))}: ${counted(row.waiting_count, "task")} waiting${turns}${raised}`,
      ...row.waiting.map((task) =>
        waitingLine(
          task,
          task.why === "queued" || task.needed === null
            ? ""
            : `, needs ${meterAmount(row.meter, task.needed)}`,
        ),
      ),
    ];
  });
  const stops = list.stops.flatMap((stop) => [
    stop.kind === "unpriced"
      ? `${plain(stop.model)} has no price: ${counted(stop.waiting_count, "task")} waiting, lifted by ${raisersText(stop.raised_by)}`
      : `the workspace is suspended (${plain(stop.reason)}): ${counted(stop.waiting_count, "task")} waiting, lifted by ${raisersText(stop.raised_by)}`,
    ...stop.waiting.map((task) => waitingLine(task, "")),
  ]);
  return [...stops, ...rows];
}

function changeLines(list: LimitList): string[] {
  return list.data.flatMap((row) =>
    row.changes.map(
      (change) =>
        `  ${utcMinute(change.changed_at)}  ${plain(scopeText(row))}, ${meterName(row.meter)}: ${change.amount === null ? "no limit" : meterAmount(row.meter, change.amount)} by ${plain(change.changed_by_name)} (version ${change.version})`,
    ),
  );
}

async function listLimits(context: Context, flags: { changes?: boolean }): Promise<ExitCode> {
  const list = await context.client.limits.list();
  if (context.json) {
    context.print(JSON.stringify(list));
    return exitCode.ok;
  }
  const waiting = waitingLines(list);
  const changes = flags.changes === true ? changeLines(list) : [];
  context.print(
    [
      ...(list.simulated ? ["The model is simulated: these dollars are not real.", ""] : []),
      table(
        ["LIMIT OF", "METER", "PERIOD", "USED + HELD", "MAX", "ON HIT", "STATUS"],
        list.data.map(rowOf),
      ),
      ...(waiting.length === 0 ? [] : ["", ...waiting]),
      ...(changes.length === 0 ? [] : ["", "Changes, newest first of each limit:", ...changes]),
    ].join("\n"),
  );
  return exitCode.ok;
}

type SetFlags = { task?: string; agent?: string; key?: string; meter: string; until?: string };

const scopedLevels = ["task", "agent", "key"] as const;
type Meter = (typeof setLimitSchema)["shape"]["meter"]["options"][number];

function meterOf(text: string): Meter {
  const meters = setLimitSchema.shape.meter.options;
  const meter = meters.find((known) => known === text);
  if (meter === undefined) throw new UsageError(`--meter ${text}: one of ${meters.join(", ")}.`);
  return meter;
}

/** What was typed in units of the meter: dollars, minutes or a count; `none` is no limit. */
function amountOf(text: string, meter: Meter): number | null {
  if (text === "none") return null;
  if (meter === "model_cost") {
    const amount = parseUsd(text);
    if (amount === undefined)
      throw new UsageError(`${text}: give dollars, for example 25.00, or none.`);
    return amount;
  }
  if (!/^\d{1,9}$/.test(text))
    throw new UsageError(
      `${text}: give a whole number of ${meter === "agent_time" ? "minutes" : meterName(meter)}, or none.`,
    );
  return Number(text) * (meter === "agent_time" ? MINUTE_MS : 1);
}

async function setLimit(context: Context, text: string, flags: SetFlags): Promise<ExitCode> {
  const meter = meterOf(flags.meter);
  const amount = amountOf(text, meter);
  const named = scopedLevels.filter((each) => flags[each] !== undefined);
  if (named.length > 1) throw new UsageError("Give one of --task, --agent and --key.");
  const level = named[0] ?? "workspace";
  const scopeId = level === "workspace" ? undefined : flags[level];
  const until = momentOf("--until", flags.until, new Date());
  await context.client.limits.set({
    meter,
    level,
    amount,
    ...(until === undefined ? {} : { until }),
    ...(scopeId === undefined ? {} : { scope_id: scopeId }),
  });
  const who = scopeId ?? "The workspace";
  const often = level === "task" || meter === "concurrent_tasks" ? "" : " a month";
  const shown = amount === null ? "no limit" : meterAmount(meter, amount);
  const ends = until === undefined ? "" : ` Until ${utcMinute(until)}, then as before.`;
  context.print(
    context.json
      ? JSON.stringify({ meter, level, scope_id: scopeId ?? null, amount, until: until ?? null })
      : meter === "model_cost"
        ? `${who} may spend ${amount === null ? "without limit" : usd(amount)}${often}.${ends}`
        : `${meterName(meter)} of ${scopeId ?? "the workspace"}: ${shown}${amount === null ? "" : often}.${ends}`,
  );
  return exitCode.ok;
}

async function setOverage(
  context: Context,
  text: string,
  flags: { meter: string },
): Promise<ExitCode> {
  const meter = overageMeters.find((known) => known === flags.meter);
  if (meter === undefined)
    throw new UsageError(`--meter ${flags.meter}: one of ${overageMeters.join(", ")}.`);
  const amount = text === "0" ? 0 : amountOf(text, meter);
  if (amount === null) throw new UsageError(`${text}: overage has an amount; 0 is none.`);
  const overage = await context.client.limits.setOverage({ meter, amount });
  const limit = overage.limit === null ? "" : `, ${meterAmount(meter, overage.limit)} in all`;
  const what = meter === "model_cost" ? "spend" : "use";
  context.print(
    context.json
      ? JSON.stringify(overage)
      : `The workspace may ${what} ${meterAmount(meter, amount)} a month beyond what its plan includes${limit}.`,
  );
  return exitCode.ok;
}

/** `guildhall limit …` */
export function addLimitCommands(program: Command, run: Run): void {
  const limit = program.command("limit").description("what stops work, and raising it");
  limit
    .command("list")
    .description("every limit that can stop work, its use, and what waits for it")
    .option("--changes", "also who changed them when")
    .action(run(listLimits));
  limit
    .command("set <amount>")
    .alias("raise")
    .description(
      "dollars (or minutes, or a count, by --meter), or none: of the workspace a month unless it says else",
    )
    .option("--task <id>", "of one task; a paused one goes on")
    .option("--agent <id>", "of one agent a month")
    .option("--key <id>", "of one API key a month")
    .option("--until <when>", `for a while: ${momentForms}; then the former limit is back`)
    .option(
      "--meter <meter>",
      `one of ${setLimitSchema.shape.meter.options.join(", ")}`,
      "model_cost",
    )
    .action(run(setLimit));
  limit
    .command("overage <amount>")
    .description(
      "opt in to use beyond what the plan includes, dollars a month (or minutes, by --meter); 0 is none",
    )
    .option("--meter <meter>", `one of ${overageMeters.join(", ")}`, "model_cost")
    .action(run(setOverage));
}

import type { Command } from "commander";
import type { Alert } from "@guildhall/sdk/contract/alert.ts";
import type { Context } from "../context.ts";
import { type ExitCode, exitCode, UsageError } from "../exit.ts";
import { counted, table } from "../format.ts";
import { meterAmount } from "../parked.ts";
import type { Run } from "../run.ts";

const MOST_LISTED = 200;

const amountOf = ({ meter }: Alert, value: number | null): string =>
  value === null ? "" : meterAmount(meter, value);

function rowOf(alert: Alert): string[] {
  return [
    alert.unread ? "new" : "",
    alert.at,
    alert.kind === "demand" ? "twice the limit demanded" : `${alert.percent} % used`,
    alert.meter,
    alert.level === "workspace"
      ? "workspace"
      : `${alert.level} ${alert.scope_name ?? alert.scope_id}`,
    alert.period,
    amountOf(alert, alert.amount),
    amountOf(alert, alert.limit),
  ];
}

type ListFlags = { unread?: boolean; limit: string };

async function listAlerts(context: Context, flags: ListFlags): Promise<ExitCode> {
  const limit = Number(flags.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > MOST_LISTED)
    throw new UsageError(`--limit ${flags.limit}: a whole number from 1 to ${MOST_LISTED}.`);
  const page = await context.client.alerts.list({ limit, unread: flags.unread ?? false });
  if (context.json) context.print(JSON.stringify(page));
  else if (page.data.length === 0)
    context.print(flags.unread ? "Nothing unread." : "No limit has reached a threshold so far.");
  else
    context.print(
      table(["", "AT", "ALERT", "METER", "OF", "PERIOD", "AMOUNT", "LIMIT"], page.data.map(rowOf)),
    );
  return exitCode.ok;
}

async function markAllRead(context: Context): Promise<ExitCode> {
  const { data, unread } = await context.client.alerts.list({ limit: 1 });
  const newest = data[0];
  if (newest && unread > 0) await context.client.alerts.markRead(newest.seq);
  context.print(
    context.json ? JSON.stringify({ read: unread }) : `${counted(unread, "alert")} marked as read`,
  );
  return exitCode.ok;
}

/** `guildhall alert …` */
export function addAlertCommands(program: Command, run: Run): void {
  const alert = program.command("alert").description("limits that reached a threshold");
  alert
    .command("list")
    .description("newest first")
    .option("--unread", "only those that are not marked as read")
    .option("--limit <number>", "how many", "50")
    .action(run(listAlerts));
  alert.command("read").description("mark all as read").action(run(markAllRead));
}

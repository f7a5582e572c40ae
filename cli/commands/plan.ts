import type { PlanTerm, WorkspacePlan } from "@guildhall/sdk/contract/plan.ts";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { type ExitCode, exitCode } from "../exit.ts";
import { plain, table, usd } from "../format.ts";
import { meterAmount, meterName, utcMinute } from "../parked.ts";
import type { Run } from "../run.ts";

function rowOf(term: PlanTerm): string[] {
  const amount = (value: number | null, none: string): string =>
    value === null ? none : meterAmount(term.meter, value);
  return [
    meterName(term.meter),
    amount(term.included, "–"),
    term.agreed === null ? "–" : amount(term.agreed.amount, "no limit"),
    term.overage === 0 ? "–" : `+ ${meterAmount(term.meter, term.overage)}`,
    amount(term.own_cap, "–"),
    amount(term.in_force, "no limit"),
    term.changed_at === null
      ? "–"
      : `${utcMinute(term.changed_at)} by ${plain(term.changed_by ?? "")}`,
  ];
}

function overageLine({ terms }: WorkspacePlan): string[] {
  if (!terms.some((term) => term.overage_possible)) return [];
  return ["", "Beyond what is included, a month: guildhall limit overage <usd>"];
}

async function showAccount(context: Context): Promise<ExitCode> {
  const [me, plan] = await Promise.all([context.client.me(), context.client.plan()]);
  if (context.json) {
    context.print(JSON.stringify({ workspace: me.workspace, role: me.role, ...plan }));
    return exitCode.ok;
  }
  const price = plan.price_nano_usd === 0 ? "" : `, ${usd(plan.price_nano_usd)} a month`;
  const { name, id, suspended } = me.workspace;
  context.print(
    [
      `${plain(name)} (${id}) · plan ${plan.plan}${price}`,
      ...(suspended === null ? [] : [`The workspace is suspended: ${suspended}.`]),
      `You are ${plain(me.actor.name)}, with the rights of ${me.role}.`,
      "",
      table(
        ["METER", "INCLUDED", "AGREED", "OVERAGE", "OWN CAP", "IN FORCE", "LAST CHANGE"],
        plan.terms.map(rowOf),
      ),
      ...overageLine(plan),
    ].join("\n"),
  );
  return exitCode.ok;
}

/** `guildhall account`: the workspace's plan, and what its limits follow from. */
export function addPlanCommands(program: Command, run: Run): void {
  program
    .command("account")
    .description("the workspace's plan: included, agreed, overage, and the limits in force")
    .action(run(showAccount));
}

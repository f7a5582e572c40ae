import { duration, parseUsd, table, usd } from "@guildhall/cli/format.ts";
import type { Command } from "commander";
import { type CommandFrame, type Env, withInstallation } from "./command-frame.ts";
import type { LimitChanged } from "./ledger/plan-terms.ts";
import { planMeters } from "@guildhall/sdk/contract/plan.ts";
import { type PlanMeter, type PlanName, planNames } from "./ledger/plans.ts";
import { AppError } from "./platform/errors.ts";

/** Whom the audit names: who may run commands on the installation's own machine. */
const OPERATOR = { actor: "operator", origin: "local" };

const print = (text: string): void => void process.stdout.write(`${text}\n`);

function oneOf<Name extends string>(what: string, names: readonly Name[], text: string): Name {
  const found = names.find((name) => name === text);
  if (found !== undefined) return found;
  throw new AppError({
    code: "argument_invalid",
    status: 400,
    publicMessage: `${text} is no ${what}.`,
    hint: `Give one of ${names.join(", ")}.`,
  });
}

/** Dollars, minutes of agent time, or a count, by meter; in the meter's unit. */
function readAmount(meter: PlanMeter, text: string): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : undefined;
  const amount =
    meter === "model_cost"
      ? parseUsd(text)
      : meter === "agent_time" && count !== undefined
        ? count * 60_000
        : count;
  if (amount !== undefined) return amount;
  const unit = { model_cost: "dollars, for example 25.00", agent_time: "whole minutes" };
  throw new AppError({
    code: "argument_invalid",
    status: 400,
    publicMessage: `${text} is no amount of ${meter}.`,
    hint: `Give ${meter === "model_cost" || meter === "agent_time" ? unit[meter] : "a whole number"}, or none.`,
  });
}

function describe(meter: PlanMeter, amount: number | null): string {
  if (amount === null) return "no limit";
  if (meter === "model_cost") return usd(amount);
  return meter === "agent_time" ? duration(amount) : String(amount);
}

function printChanges(workspaceId: string, changes: readonly LimitChanged[], json: boolean): void {
  if (json) return print(JSON.stringify({ workspace_id: workspaceId, data: changes }));
  const rows = changes.map(({ meter, before, amount, version }) => [
    meter,
    describe(meter, before),
    describe(meter, amount),
    String(version),
  ]);
  print(table(["METER", "BEFORE", "NOW", "VERSION"], rows));
}

type Target = { env: Env; id: string; json: boolean };

async function changePlan({ env, id, json }: Target, plan: PlanName): Promise<void> {
  const { setPlan } = await import("./ledger/plan-terms.ts");
  await withInstallation(env, async ({ db }) => {
    const change = { workspaceId: id, plan, ...OPERATOR };
    printChanges(id, await db.withPlatform((tx) => setPlan(tx, change)), json);
  });
}

async function agree(
  { env, id, json }: Target,
  agreed: { meter: PlanMeter; amount: number | null | "plan" },
): Promise<void> {
  const { setOverride } = await import("./ledger/plan-terms.ts");
  await withInstallation(env, async ({ db }) => {
    const change = { workspaceId: id, ...agreed, ...OPERATOR };
    printChanges(id, [await db.withPlatform((tx) => setOverride(tx, change))], json);
  });
}

async function limitAccount(
  { env, id, json }: Target,
  limit: { meter: "model_cost" | "agent_time"; amount: number | null },
): Promise<void> {
  const { setAccountLimit } = await import("./ledger/plan-terms.ts");
  await withInstallation(env, async ({ db }) => {
    const change = { billingAccountId: id, ...limit, ...OPERATOR };
    const version = await db.withPlatform((tx) => setAccountLimit(tx, change));
    if (json) return print(JSON.stringify({ billing_account_id: id, ...limit, version }));
    const { meter, amount } = limit;
    print(`${id}: ${meter} ${describe(meter, amount)} a month, over all its workspaces`);
  });
}

/** `guildhall operator plan|agree|account-limit`: what workspaces and payers may use. */
export function addPlanCommands(program: Command, frame: CommandFrame): void {
  const { env, orExplain, wantsJson } = frame;
  const operator =
    program.commands.find((command) => command.name() === "operator") ??
    program.command("operator").description("all workspaces of this installation");
  operator
    .command("plan <workspace> <plan>")
    .description(`put a workspace on another plan: ${planNames.join(", ")}`)
    .action((id: string, plan: string, _options: object, command: Command) =>
      orExplain(() =>
        changePlan({ env, id, json: wantsJson(command) }, oneOf("plan", planNames, plan)),
      ),
    );
  operator
    .command("agree <workspace> <meter> <amount>")
    .description(
      "another amount than the plan's, kept when the plan changes: dollars, minutes or a count; none; or plan to take it back",
    )
    .action((id: string, name: string, text: string, _options: object, command: Command) =>
      orExplain(async () => {
        const meter = oneOf("meter", planMeters, name);
        const amount = text === "plan" ? "plan" : text === "none" ? null : readAmount(meter, text);
        await agree({ env, id, json: wantsJson(command) }, { meter, amount });
      }),
    );
  operator
    .command("account-limit <account> <meter> <amount>")
    .description(
      "monthly limit of a billing account over all its workspaces; dollars, minutes or none",
    )
    .action((id: string, name: string, text: string, _options: object, command: Command) =>
      orExplain(async () => {
        const meter = oneOf("meter of billing accounts", ["model_cost", "agent_time"], name);
        const amount = text === "none" ? null : readAmount(meter, text);
        await limitAccount({ env, id, json: wantsJson(command) }, { meter, amount });
      }),
    );
}

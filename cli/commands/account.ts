import type { Command } from "commander";
import { type Scope, scopes } from "@guildhall/sdk/contract/workspace.ts";
import type { Context } from "../context.ts";
import { type ExitCode, exitCode, UsageError } from "../exit.ts";
import { bytes, duration, table, usd } from "../format.ts";
import type { Run } from "../run.ts";

async function showUsage(context: Context): Promise<ExitCode> {
  const usage = await context.client.usage();
  if (context.json) {
    context.print(JSON.stringify(usage));
    return exitCode.ok;
  }
  const amount = (meter: string, value: number): string =>
    meter === "model_cost" ? usd(value) : meter === "agent_time" ? duration(value) : String(value);
  const meters = usage.meters.map((meter) => [
    meter.meter,
    meter.period,
    amount(meter.meter, meter.used),
    amount(meter.meter, meter.held),
    meter.limit === null ? "no limit" : amount(meter.meter, meter.limit),
  ]);
  const agents = usage.by_agent.map((agent) => [
    agent.agent_id,
    String(agent.tasks),
    usd(agent.spent_nano_usd),
  ]);
  const others = usage.counted.map(({ meter, period, used }) => [
    meter,
    period,
    meter === "storage_bytes"
      ? bytes(used)
      : meter === "socket_time"
        ? duration(used)
        : String(used),
  ]);
  const keys = usage.by_key.map((key) => [
    key.key_id,
    key.name,
    usd(key.spent_nano_usd),
    key.limit_nano_usd === null ? "no limit" : usd(key.limit_nano_usd),
  ]);
  context.print(
    [
      ...(usage.simulated ? ["The model is simulated: these dollars are not real.", ""] : []),
      table(["METER", "PERIOD", "USED", "RESERVED", "LIMIT"], meters),
      "",
      table(["AGENT", "TASKS", "SPENT"], agents),
      ...(keys.length === 0 ? [] : ["", table(["KEY", "NAME", "SPENT", "LIMIT"], keys)]),
      "",
      table(["ALSO COUNTED", "PERIOD", "AMOUNT"], others),
    ].join("\n"),
  );
  return exitCode.ok;
}

async function listAgents(context: Context): Promise<ExitCode> {
  const { data } = await context.client.agents.list();
  context.print(
    context.json
      ? JSON.stringify({ data })
      : table(
          ["AGENT", "NAME", "ROLE", "TOOLS"],
          data.map((a) => [a.id, a.name, a.role, a.tools.join(", ")]),
        ),
  );
  return exitCode.ok;
}

function scopesOf(text: string): Scope[] {
  return text.split(",").map((name) => {
    const scope = scopes.find((known) => known === name.trim());
    if (!scope) throw new UsageError(`--scopes: "${name}" is none of ${scopes.join(", ")}.`);
    return scope;
  });
}

async function createKey(
  context: Context,
  name: string,
  flags: { scopes: string },
): Promise<ExitCode> {
  const key = await context.client.apiKeys.create({ name, scopes: scopesOf(flags.scopes) });
  context.print(
    context.json ? JSON.stringify(key) : `${key.key}\nThis is the only time it is shown.`,
  );
  return exitCode.ok;
}

/** `guildhall agent|usage|key …` */
export function addAccountCommands(program: Command, run: Run): void {
  program
    .command("usage")
    .description("what was used this period, and the limits")
    .action(run(showUsage));
  const agent = program.command("agent").description("who works here");
  agent.command("list").action(run(listAgents));
  const key = program.command("key").description("API keys");
  key
    .command("create <name>")
    .option(
      "-s, --scopes <list>",
      "comma-separated",
      "tasks:read,tasks:write,agents:read,usage:read",
    )
    .action(run(createKey));
  key.command("list").action(
    run(async (context) => {
      const { data } = await context.client.apiKeys.list();
      const rows = data.map((k) => [
        k.id,
        k.name,
        k.scopes.join(","),
        k.last_used_at ?? "never",
        k.revoked_at ? "revoked" : "active",
      ]);
      context.print(
        context.json
          ? JSON.stringify({ data })
          : table(["KEY", "NAME", "SCOPES", "LAST USED", "STATE"], rows),
      );
      return exitCode.ok;
    }),
  );
  key.command("revoke <id>").action(
    run(async (context, id: string) => {
      await context.client.apiKeys.revoke(id);
      context.print(context.json ? JSON.stringify({ revoked: id }) : `${id} revoked`);
      return exitCode.ok;
    }),
  );
}

import { duration, plain, table, usd } from "@guildhall/cli/format.ts";
import type { Command } from "commander";
import { type CommandFrame, type Env, withInstallation } from "./command-frame.ts";
import { readConfig } from "./platform/config.ts";

const MOST_ALERTS = 200;
const MOST_DEAD_WAKES = 100;

const print = (text: string): void => void process.stdout.write(`${text}\n`);

const signed = (nanoUsd: number): string => (nanoUsd < 0 ? `-${usd(-nanoUsd)}` : usd(nanoUsd));

/** Measures now, under this command's settings of rates, and prints; whom the guard pauses is the running server's business. */
async function showMargins(env: Env, json: boolean): Promise<void> {
  const { createMarginGuard, marginRules } = await import("./billing/margin-guard.ts");
  const { readMargins } = await import("./operator/workspaces.ts");
  await withInstallation(env, async ({ db }, log) => {
    await createMarginGuard({ db, log, ...marginRules(readConfig(env)) }).refresh();
    const margins = await readMargins(db);
    if (json) return print(JSON.stringify({ data: margins }));
    const rows = margins.map((m) => [
      m.workspace_id,
      m.name,
      m.plan,
      usd(m.revenue_nano_usd),
      usd(m.model_cost_nano_usd),
      usd(m.agent_cost_nano_usd),
      usd(m.storage_cost_nano_usd),
      signed(m.margin_nano_usd),
      m.margin_percent === null ? "" : `${m.margin_percent} %`,
      m.allowed_nano_usd === null ? "" : usd(m.allowed_nano_usd),
      m.suspended ?? "",
    ]);
    print(
      table(
        [
          "WORKSPACE",
          "NAME",
          "PLAN",
          "REVENUE",
          "MODEL",
          "AGENTS",
          "STORAGE",
          "MARGIN",
          "",
          "PAUSED ABOVE",
          "SUSPENDED",
        ],
        rows,
      ),
    );
  });
}

async function showAlerts(env: Env, json: boolean): Promise<void> {
  const { readTopAlerts } = await import("./operator/workspaces.ts");
  await withInstallation(env, async ({ db }) => {
    const alerts = await readTopAlerts(db, MOST_ALERTS);
    if (json) return print(JSON.stringify({ data: alerts }));
    if (alerts.length === 0)
      return print("No limit of a billing account or of the installation has reached a threshold.");
    const amount = (meter: string, value: number): string =>
      meter === "agent_time" ? duration(value) : usd(value);
    const rows = alerts.map((a) => [
      a.at,
      a.kind === "demand" ? "twice the limit demanded" : `${a.percent} % used`,
      a.meter,
      a.level === "platform" ? "the installation" : a.scope_id,
      a.period,
      amount(a.meter, a.amount),
      amount(a.meter, a.limit_amount),
    ]);
    print(table(["AT", "ALERT", "METER", "OF", "PERIOD", "AMOUNT", "LIMIT"], rows));
  });
}

async function showDeadWakes(env: Env, json: boolean): Promise<void> {
  const { listDeadWakes } = await import("./platform/transport/dead-wakes.ts");
  await withInstallation(env, async ({ db }) => {
    const dead = await listDeadWakes(db, MOST_DEAD_WAKES);
    if (json) return print(JSON.stringify({ data: dead }));
    if (dead.length === 0)
      return print("Every message between processes was understood in the last month.");
    const rows = dead.map((wake) => [
      wake.last_at.toISOString(),
      wake.source,
      String(wake.times),
      plain(wake.reason),
      plain(wake.payload).slice(0, 100),
    ]);
    print(table(["LAST", "FROM", "TIMES", "REASON", "PAYLOAD"], rows));
  });
}

async function suspend(
  env: Env,
  change: { workspaceId: string; suspend: boolean; json: boolean },
): Promise<void> {
  const { suspendWorkspace } = await import("./operator/workspaces.ts");
  await withInstallation(env, async ({ db }) => {
    const changed = await suspendWorkspace(db, change);
    const { workspaceId: workspace_id, suspend: suspended } = change;
    if (change.json) return print(JSON.stringify({ workspace_id, suspended, changed }));
    const state = suspended ? "suspended: no further call or task begins" : "goes on";
    print(`${workspace_id} ${changed ? "" : "already "}${state}`);
  });
}

/** `guildhall operator …`: what the person does who runs the installation, on its own machine. */
export function addOperatorCommands(program: Command, frame: CommandFrame): void {
  const { env, orExplain, wantsJson } = frame;
  const operator = program.command("operator").description("all workspaces of this installation");
  operator
    .command("margins")
    .description("cost, revenue and margin of each workspace this month")
    .action((_options: object, command: Command) =>
      orExplain(() => showMargins(env, wantsJson(command))),
    );
  operator
    .command("alerts")
    .description("limits of billing accounts and of the installation that reached a threshold")
    .action((_options: object, command: Command) =>
      orExplain(() => showAlerts(env, wantsJson(command))),
    );
  operator
    .command("dead-wakes")
    .description("messages between processes that fit no schema, and why")
    .action((_options: object, command: Command) =>
      orExplain(() => showDeadWakes(env, wantsJson(command))),
    );
  for (const [name, description] of [
    ["suspend", "no further call begins; running tasks are parked"],
    ["resume", "let a suspended workspace go on, also one that the margin guard paused"],
  ] as const)
    operator
      .command(`${name} <workspace>`)
      .description(description)
      .action((workspaceId: string, _options: object, command: Command) =>
        orExplain(() =>
          suspend(env, { workspaceId, suspend: name === "suspend", json: wantsJson(command) }),
        ),
      );
}

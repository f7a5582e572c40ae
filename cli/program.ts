import type { Command } from "commander";
import { addAccountCommands } from "./commands/account.ts";
import { addAlertCommands } from "./commands/alert.ts";
import { addGatewayCommands } from "./commands/gateway.ts";
import { addLimitCommands } from "./commands/limit.ts";
import { addPlanCommands } from "./commands/plan.ts";
import { addTaskCommands } from "./commands/task.ts";
import { createRun, type Env } from "./run.ts";

/** Adds the commands that speak to a running installation over HTTP. */
export function addClientCommands(program: Command, env: Env): void {
  program
    .option("--json", "machine-readable output")
    .option("--url <origin>", "the installation, instead of the local one")
    .option("--api-key <key>", "instead of the local credential")
    .option("--profile <name>", "a stored address and key");
  const run = createRun(env);
  addTaskCommands(program, run);
  addAccountCommands(program, run);
  addAlertCommands(program, run);
  addGatewayCommands(program, run);
  addLimitCommands(program, run);
  addPlanCommands(program, run);
}

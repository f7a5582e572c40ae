import type { Command, CommanderError } from "commander";
import { addAccountCommands } from "./commands/account.ts";
import { addTaskCommands } from "./commands/task.ts";
import { exitCode } from "./exit.ts";
import { createRun, type Env } from "./run.ts";

/** Adds the commands that speak to a running installation over HTTP. Exit codes: 0 ok, 1 failed, 2 usage, 3 limit, 4 auth. */
export function addClientCommands(program: Command, env: Env): void {
  program
    .option("--json", "machine-readable output")
    .option("--url <origin>", "the installation, instead of the local one")
    .option("--api-key <key>", "instead of the local credential")
    .option("--profile <name>", "a stored address and key")
    .exitOverride((error: CommanderError) => {
      // Help and version end well; everything else commander refuses is a mistake in the command line.
      process.exit(error.exitCode === 0 ? exitCode.ok : exitCode.usage);
    });
  const run = createRun(env);
  addTaskCommands(program, run);
  addAccountCommands(program, run);
}

import type { Command, CommanderError } from "commander";
import { addAccountCommands } from "./commands/account.ts";
import { addTaskCommands } from "./commands/task.ts";
import { type Context, type GlobalOptions, openContext } from "./context.ts";
import { describeError, type ExitCode, exitCode, exitCodeOf } from "./exit.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** Wraps a command: opens the context from the global options, and turns its outcome into the exit code. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- it ties a command to its own arguments
export type Run = <Args extends unknown[]>(
  command: (context: Context, ...args: Args) => Promise<ExitCode>,
) => (...args: unknown[]) => Promise<void>;

function isCommand(value: unknown): value is Command {
  return typeof value === "object" && value !== null && "optsWithGlobals" in value;
}

function fail(error: unknown, json: boolean): void {
  const code = exitCodeOf(error);
  const problem =
    typeof error === "object" && error !== null && "problem" in error ? error.problem : undefined;
  process.stderr.write(
    json
      ? `${JSON.stringify(problem ?? { detail: describeError(error) })}\n`
      : `${describeError(error)}\n`,
  );
  process.exitCode = code;
}

function createRun(env: Env): Run {
  return <Args extends unknown[]>(
    command: (context: Context, ...args: Args) => Promise<ExitCode>,
  ) =>
    async (...given) => {
      const own = given.at(-1);
      const options = isCommand(own) ? own.optsWithGlobals<GlobalOptions>() : {};
      const args = given.slice(0, -1) as Args;
      try {
        process.exitCode = await command(await openContext(options, env), ...args);
      } catch (error) {
        fail(error, options.json ?? false);
      }
    };
}

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

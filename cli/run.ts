import type { Command } from "commander";
import { type Context, type GlobalOptions, openContext } from "./context.ts";
import { describeError, type ExitCode, exitCodeOf } from "./exit.ts";

export type Env = Readonly<Record<string, string | undefined>>;

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

/** For one environment; the program makes it once. */
export function createRun(env: Env): Run {
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

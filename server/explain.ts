import { AppError } from "./platform/errors.ts";

/** What people see when the program cannot go on: what was wrong and what to do, no stack. */
function explain(error: unknown): string {
  if (error instanceof AppError)
    return `✖ ${error.publicMessage}${error.hint === undefined ? "" : ` ${error.hint}`}`;
  return `✖ ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

/** Says on standard error what went wrong, and makes the process end as failed. */
export function tellFailure(error: unknown): void {
  process.stderr.write(`${explain(error)}\n`);
  process.exitCode = 1;
}

export async function orExplain(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    tellFailure(error);
  }
}

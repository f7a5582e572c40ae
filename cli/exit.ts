import { ConnectionError, GuildhallError } from "@guildhall/sdk/client/errors.ts";
import { duration, plain } from "./format.ts";

/** Exit codes of every command; scripts branch on them. */
export const exitCode = { ok: 0, failed: 1, usage: 2, limit: 3, auth: 4 } as const;
export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

/** A mistake in the command line itself. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Which code an error ends the program with. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof UsageError) return exitCode.usage;
  if (!(error instanceof GuildhallError)) return exitCode.failed;
  if (error.status === 401 || error.status === 403) return exitCode.auth;
  if (error.status === 402 || error.status === 429) return exitCode.limit;
  return error.status === 400 || error.status === 422 ? exitCode.usage : exitCode.failed;
}

/** What a person reads about an error: what was wrong, where, what to do. */
export function describeError(error: unknown): string {
  if (error instanceof GuildhallError) {
    const fields = (error.problem.errors ?? [])
      .filter((item) => !error.message.includes(item.message))
      .map((item) => `  ${item.field}: ${item.message}`);
    const hint = error.problem.hint === undefined ? [] : [error.problem.hint];
    const wait =
      error.retryAfterMs === undefined
        ? []
        : [`The next try can succeed in ${duration(error.retryAfterMs)}.`];
    const about = `(${error.code}, request ${error.problem.request_id})`;
    return plain([error.message, ...fields, ...hint, ...wait, about].join("\n"));
  }
  if (error instanceof ConnectionError)
    return `${error.message}\nIs it running? Start it with: npm start`;
  return error instanceof Error ? error.message : String(error);
}

import { pino, type Logger as PinoLogger } from "pino";
import { AppError } from "./errors.ts";
import { standardErrorLog } from "./log-destination.ts";
import { Secret } from "./secret.ts";

export type Logger = PinoLogger;

/** Header and field names whose values are never written, whoever logs them. Secrets proper are of type `Secret`. */
const REDACTED = [
  "authorization",
  "x-api-key",
  "cookie",
  "set-cookie",
  "password",
  "token",
  "refresh_token",
];

function describeError(error: unknown): unknown {
  if (error instanceof AppError) {
    return {
      code: error.code,
      status: error.status,
      message: error.internal ?? error.publicMessage,
      stack: error.stack,
      cause: describeError(error.cause),
    };
  }
  if (error instanceof Error)
    return { message: error.message, stack: error.stack, cause: describeError(error.cause) };
  return error instanceof Secret ? "***" : error;
}

/** Structured logs on standard error, so that standard output stays for people and pipes. */
export function createLogger(options: { level: string; name?: string }): Logger {
  return pino(
    {
      level: options.level,
      base: { name: options.name ?? "guildhall" },
      serializers: { err: describeError, error: describeError },
      redact: {
        paths: REDACTED.flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`]),
        censor: "***",
      },
    },
    standardErrorLog(),
  );
}

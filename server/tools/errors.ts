import { AppError } from "../platform/errors.ts";

/** Every code that this slice raises, with the status that the HTTP edge answers with. */
const statusByCode = {
  path_not_valid: 400,
  path_not_allowed: 403,
  path_read_only: 403,
  path_not_found: 404,
  path_conflict: 409,
  file_too_large: 413,
  folder_full: 413,
  file_not_text: 422,
  data_not_readable: 422,
  data_too_slow: 422,
  pattern_not_valid: 400,
  team_absent: 409,
} as const;

export type ToolErrorCode = keyof typeof statusByCode;

/**
 * An `AppError` of this slice. `publicMessage` is read by a model as well as by a person, so it
 * names the path as the caller wrote it and never a path of the machine.
 */
export function toolError(init: {
  code: ToolErrorCode;
  publicMessage: string;
  hint?: string;
  cause?: unknown;
}): AppError {
  return new AppError({ ...init, status: statusByCode[init.code] });
}

/** The `code` of a file system error (`ENOENT`, `ELOOP`, ...), or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

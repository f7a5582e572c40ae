import { access, constants, mkdir, realpath } from "node:fs/promises";
import { AppError } from "./errors.ts";
import { hasCode } from "./system-error.ts";

/** Makes the folder when it is missing and returns its real path; fails when this process may not write to it. */
export async function makeDataFolder(requested: string): Promise<string> {
  try {
    await mkdir(requested, { recursive: true });
    await access(requested, constants.W_OK | constants.X_OK);
    return await realpath(requested);
  } catch (cause) {
    throw notWritable(requested, cause);
  }
}

/** Turns a failed write below `dir` into a message with the fix. */
export function notWritable(dir: string, cause: unknown): AppError {
  const full = hasCode(cause, "ENOSPC", "EDQUOT");
  const notFolder = hasCode(cause, "ENOTDIR", "EEXIST");
  const readOnly = hasCode(cause, "EROFS");
  return new AppError({
    code: full ? "data_folder_full" : "data_folder_not_writable",
    status: 500,
    publicMessage: full
      ? `There is no space left for the data folder ${dir}.`
      : notFolder
        ? `The data folder ${dir} is not a folder.`
        : readOnly
          ? `The data folder ${dir} is on a read-only file system.`
          : `Guildhall may not write to the data folder ${dir}.`,
    hint: full
      ? "Free some space, or choose another data folder."
      : notFolder || readOnly
        ? "Choose another data folder."
        : `Run "sudo chown -R $(id -un) ${dir}", or choose another data folder.`,
    cause,
  });
}

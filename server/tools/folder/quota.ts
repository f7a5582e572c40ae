import { toolError } from "../errors.ts";

export type FolderLimits = { maxFileBytes: number; maxTotalBytes: number; maxFiles: number };
export type FolderTotals = { files: number; totalBytes: number };

/** `1.5 MB`, `200 bytes`: sizes as people read them, in powers of 1000. */
export function showBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}

/** Throws when one more file than `totals` (less a replaced one) would be too many. */
export function requireFileSlot(check: {
  limits: FolderLimits;
  totals: FolderTotals;
  replaces: boolean;
  path: string;
}): void {
  const { limits, totals, replaces, path } = check;
  if (replaces || totals.files < limits.maxFiles) return;
  throw toolError({
    code: "folder_full",
    publicMessage: `"${path}" was not written: the folder already holds ${totals.files} files, and ${limits.maxFiles} is the limit.`,
    hint: "Replace an existing file, or write fewer, larger files.",
  });
}

/** Throws when a file of `fileBytes` is too large by itself or beside what is there already. */
export function requireRoom(check: {
  limits: FolderLimits;
  totals: FolderTotals;
  replacedBytes: number;
  fileBytes: number;
  path: string;
}): void {
  const { limits, totals, replacedBytes, fileBytes, path } = check;
  if (fileBytes > limits.maxFileBytes) {
    throw toolError({
      code: "file_too_large",
      publicMessage: `"${path}" was not written: one file may have at most ${showBytes(limits.maxFileBytes)}.`,
      hint: "Split it, or write less.",
    });
  }
  const freeBytes = limits.maxTotalBytes - (totals.totalBytes - replacedBytes);
  if (fileBytes > freeBytes) {
    throw toolError({
      code: "folder_full",
      publicMessage: `"${path}" was not written: the folder may hold ${showBytes(limits.maxTotalBytes)}, and ${showBytes(Math.max(0, freeBytes))} of it are free.`,
      hint: "Write less, or replace a file by a smaller one.",
    });
  }
}

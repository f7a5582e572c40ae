const maxPathBytes = 4096;
const maxPartBytes = 255;
/** Each level costs an open descriptor while a folder is walked, so depth is bounded too. */
const maxDepth = 64;

/** Files that are still being written carry this prefix; no caller may name one. */
export const unfinishedPrefix = ".guildhall-unfinished-";

/** Only this folder is read-only for agents: it holds what the user uploaded. */
export const inputFolderName = "input";

export type ParsedPath =
  | { ok: true; path: string; segments: readonly string[] }
  | { ok: false; reason: string };

/**
 * C0, DEL and C1 controls, line separators and the bidirectional overrides: the last make a name
 * read differently from what it is.
 */
const unprintable = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

function reject(reason: string): ParsedPath {
  return { ok: false, reason };
}

function partProblem(part: string): string | undefined {
  if (part === "") return "it has an empty part (a doubled slash, or a slash at the end)";
  if (part === "..") return '".." is not allowed: paths cannot leave the folder';
  if (part === ".") return '"." is not allowed as a part of a path';
  if (Buffer.byteLength(part) > maxPartBytes) {
    return `one of its parts is longer than ${maxPartBytes} bytes`;
  }
  if (part.startsWith(unfinishedPrefix))
    return `names starting with "${unfinishedPrefix}" are reserved`;
  return undefined;
}

/**
 * Checks the spelling of a path that a model or a client wrote, relative to the run's folder, with
 * forward slashes: `input/a.csv`. Says nothing about what lies there on disk.
 */
export function parseRelativePath(raw: string): ParsedPath {
  if (raw === "") return reject("it is empty");
  if (Buffer.byteLength(raw) > maxPathBytes)
    return reject(`it is longer than ${maxPathBytes} bytes`);
  if (!raw.isWellFormed()) return reject("it is not valid Unicode text");
  if (raw.includes("\0")) return reject("it contains a NUL character");
  if (unprintable.test(raw)) return reject("it contains a control character");
  if (raw.includes("\\")) return reject('it contains a backslash: separate folders with "/"');
  if (raw.startsWith("/") || /^[A-Za-z]:/.test(raw)) {
    return reject('it is absolute: write it relative to the folder, for example "input/a.csv"');
  }
  const segments = raw.split("/");
  if (segments.length > maxDepth) return reject(`it is more than ${maxDepth} folders deep`);
  for (const part of segments) {
    const problem = partProblem(part);
    if (problem !== undefined) return reject(problem);
  }
  return { ok: true, path: raw, segments };
}

/**
 * True when writing there would change the uploaded input. Case is ignored because on some file
 * systems `Input/a.csv` is `input/a.csv`.
 */
export function isInput(segments: readonly string[]): boolean {
  return segments[0]?.toLowerCase() === inputFolderName;
}

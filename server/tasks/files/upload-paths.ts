import type { FieldProblem } from "../../platform/errors.ts";

const MAX_PART_BYTES = 255;
const MAX_PATH_BYTES = 1_024;

const bytes = (text: string): number => Buffer.byteLength(text);

// Control characters (C0, DEL, C1), the separators of lines and paragraphs, and the marks that turn text around, which
// make a name look like another one.
const HIDDEN = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

/** What is wrong with one path, or undefined. */
function faultOf(path: string): string | undefined {
  if (path === "") return "has no name";
  if (!path.isWellFormed()) return "is not valid Unicode";
  if (HIDDEN.test(path)) return "contains control characters";
  if (path.includes("\\")) return "contains a backslash; folders are separated by /";
  if (path.startsWith("/")) return "is absolute; it must be relative";
  if (bytes(path) > MAX_PATH_BYTES) return `is longer than ${MAX_PATH_BYTES} bytes`;
  const parts = path.split("/");
  if (parts.includes("..")) return "leads out of its folder (..)";
  if (parts.includes("") || parts.includes(".")) return "has an empty part";
  if (parts.some((part) => bytes(part) > MAX_PART_BYTES))
    return `has a part longer than ${MAX_PART_BYTES} bytes`;
  return undefined;
}

/** One form per name: composed Unicode, without a leading `./`. */
function normalise(path: string): string {
  return path.normalize("NFC").replace(/^(?:\.\/)+/, "");
}

export type UploadPaths = {
  /** The path as it is kept, or what is wrong with it; `files.<n>` counts from 0. */
  add(path: string): { path: string } | { problem: FieldProblem };
};

/**
 * The rules for the paths of one upload. Names that differ only in case are refused, and a file where another path has
 * a folder: the run's folder may lie on a disk that cannot hold both.
 */
export function createUploadPaths(): UploadPaths {
  const files = new Set<string>();
  const folders = new Set<string>();
  let count = 0;
  return {
    add(given) {
      const field = `files.${count++}`;
      const path = normalise(given);
      const fault = faultOf(path);
      if (fault !== undefined) return { problem: { field, message: `the path ${fault}` } };
      const key = path.toLowerCase();
      const parents = key.split("/").slice(0, -1);
      const above = parents.map((_part, depth) => parents.slice(0, depth + 1).join("/"));
      if (files.has(key)) return { problem: { field, message: "another file has this path" } };
      if (folders.has(key) || above.some((folder) => files.has(folder)))
        return { problem: { field, message: "a file and a folder have the same path" } };
      files.add(key);
      for (const folder of above) folders.add(folder);
      return { path };
    },
  };
}

import { openAsBlob } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import type { InputFile } from "@guildhall/sdk/client/client.ts";
import { UsageError } from "./exit.ts";

/** Folders that hold no input, only weight. */
const SKIPPED = new Set(["node_modules", ".git", ".guildhall"]);

async function filesBelow(folder: string, prefix: string): Promise<InputFile[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found: InputFile[] = [];
  for (const entry of entries.toSorted((a, b) => a.name.localeCompare(b.name))) {
    const path = prefix === "" ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory() && !SKIPPED.has(entry.name))
      found.push(...(await filesBelow(join(folder, entry.name), path)));
    // Symbolic links are left out: what they point to may not be meant to leave this machine.
    else if (entry.isFile()) found.push({ path, data: await openAsBlob(join(folder, entry.name)) });
  }
  return found;
}

/** The files that `--input` names: a folder gives all files below it with their relative paths, a file gives itself. */
export async function collectInput(paths: readonly string[]): Promise<InputFile[]> {
  const found: InputFile[] = [];
  for (const path of paths) {
    const info = await stat(path).catch(() => undefined);
    if (!info) throw new UsageError(`--input ${path}: no such file or folder.`);
    if (info.isDirectory()) found.push(...(await filesBelow(path, "")));
    else found.push({ path: basename(resolve(path)), data: await openAsBlob(path) });
  }
  if (paths.length > 0 && found.length === 0)
    throw new UsageError(`--input ${paths.join(", ")}: no files there.`);
  const seen = new Set<string>();
  for (const file of found) {
    if (seen.has(file.path)) throw new UsageError(`--input: two files are named ${file.path}.`);
    seen.add(file.path);
  }
  return found;
}

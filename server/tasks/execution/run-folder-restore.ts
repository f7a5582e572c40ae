import { createHash } from "node:crypto";
import { eachAtOnce } from "../../platform/at-once.ts";
import type { FileStore } from "../../platform/file-store/file-store.ts";
import type { KeptFolder } from "../../tools/run-folder.ts";
import type { KeptEntry } from "./run-snapshot.ts";

/**
 * Contents that are opened ahead of their turn: asking a service for one takes a round trip, while the folder writes one
 * file after the other.
 */
export const OPENED_AT_ONCE = 8;

/** SHA-256 of a file of the folder, read to its end. */
export async function hashOf(folder: KeptFolder, path: string): Promise<string> {
  const { handle } = await folder.openForRead(path);
  await using opened = handle;
  const hash = createHash("sha256");
  for await (const chunk of opened.createReadStream({ autoClose: false })) hash.update(chunk);
  return hash.digest("hex");
}

/** The wanted entries that lie in the folder just so. */
async function findKept(
  folder: KeptFolder,
  wanted: ReadonlyMap<string, KeptEntry>,
): Promise<Set<string>> {
  const kept = new Set<string>();
  for (const { path, type, sizeBytes, mode } of await folder.survey()) {
    const entry = wanted.get(path);
    if (entry === undefined || (type === "folder") !== (entry.sha256 === null)) continue;
    if (type === "file" && (entry.sizeBytes !== sizeBytes || entry.mode !== mode)) continue;
    if (type === "folder" || (await hashOf(folder, path)) === entry.sha256) kept.add(path);
  }
  return kept;
}

/**
 * Makes the folder exactly what `entries` say, inputs apart: what is there by size, mode and SHA-256 stays, everything
 * else goes, whoever wrote it, and the rest comes from the file store.
 */
export async function restoreFolder(
  { folder, files, workspaceId }: { folder: KeptFolder; files: FileStore; workspaceId: string },
  entries: readonly KeptEntry[],
): Promise<void> {
  const kept = await findKept(folder, new Map(entries.map((entry) => [entry.path, entry])));
  await folder.prune(kept);
  const missing = entries.filter(({ path }) => !kept.has(path));
  for (const { path, sha256 } of missing) if (sha256 === null) await folder.makeFolder(path);
  await eachAtOnce(missing, OPENED_AT_ONCE, async ({ path, sha256, mode }) => {
    if (sha256 !== null)
      await folder.copyIn(await files.open({ workspaceId, sha256 }), path, { mode });
  });
}

import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { storageFull } from "../../platform/file-store/object-store.ts";
import { hasCode } from "../../platform/system-error.ts";
import { toolError } from "../errors.ts";
import { within, type FolderAccess, type Target } from "./access.ts";
import { changed, inspectIfPresent, type Place } from "./place.ts";
import { requireFileSlot, requireRoom, type FolderTotals } from "./quota.ts";
import { unfinishedPrefix } from "./relative-path.ts";

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Writes a new file that no caller can name; `beforeEach` may refuse the size reached so far. */
async function writeUnfinished(job: {
  address: string;
  chunks: Chunks;
  beforeEach: (fileBytes: number) => void;
  mode: number | undefined;
}): Promise<number> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  await using handle = await open(job.address, flags, 0o644);
  let fileBytes = 0;
  for await (const chunk of job.chunks) {
    fileBytes += chunk.byteLength;
    job.beforeEach(fileBytes);
    await handle.writeFile(chunk);
  }
  if (job.mode !== undefined) await handle.chmod(job.mode);
  return fileBytes;
}

async function findReplaced(place: Place, target: Target) {
  const old = await inspectIfPresent({ place, name: target.name, shown: target.path });
  if (old?.isDirectory() === true) {
    throw toolError({
      code: "path_conflict",
      publicMessage: `"${target.path}" is a folder, not a file.`,
    });
  }
  return old;
}

function describeFailure(path: string, error: unknown): unknown {
  if (hasCode(error, "ENOSPC", "EDQUOT")) return storageFull(error);
  // The folder itself was deleted or moved away while it was written to.
  return hasCode(error, "ENOENT") ? changed(path, error) : error;
}

/**
 * Writes beside the target and renames, so that a reader sees the old or the new file and a crash or
 * a full folder leaves the old one whole. Returns the totals afterwards, given those before.
 */
export async function storeFile(
  access: FolderAccess,
  job: { target: Target; totals: FolderTotals; chunks: Chunks; mode?: number | undefined },
): Promise<{ sizeBytes: number; totals: FolderTotals }> {
  const { limits, racePoint } = access;
  const { target, totals, chunks, mode } = job;
  const { path } = target;
  return within(access, {
    segments: target.parents,
    create: true,
    use: async (place) => {
      const old = await findReplaced(place, target);
      const replacedBytes = old?.size ?? 0;
      requireFileSlot({ limits, totals, replaces: old !== undefined, path });
      const address = place.child(`${unfinishedPrefix}${randomUUID()}`);
      const beforeEach = (fileBytes: number) =>
        requireRoom({ limits, totals, replacedBytes, fileBytes, path });
      try {
        const sizeBytes = await writeUnfinished({ address, chunks, beforeEach, mode });
        await racePoint?.();
        await rename(address, place.child(target.name));
        const files = totals.files + (old === undefined ? 1 : 0);
        const totalBytes = totals.totalBytes - replacedBytes + sizeBytes;
        return { sizeBytes, totals: { files, totalBytes } };
      } catch (error) {
        await rm(address, { force: true });
        throw describeFailure(path, error);
      }
    },
  });
}

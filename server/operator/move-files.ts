import { access } from "node:fs/promises";
import { join } from "node:path";
import type { Db } from "../platform/db.ts";
import { objectPath, type ObjectStore } from "../platform/file-store/object-store.ts";
import { hasCode } from "../platform/system-error.ts";

const PAGE = 500;

type Content = { workspace_id: string; sha256: string; object: string; size_bytes: number };

export type Moved = { copied: number; bytes: number; missing: number };

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

/**
 * Copies every content that lies below the folder into the store: for when an installation changes from the disk to a
 * bucket. Safe beside running work, and again after it was broken off; the folder stays as it is. -> what was copied, and
 * how many contents were not in the folder, because they are in the store already or lie on another machine
 */
export async function copyFilesInto(
  objects: ObjectStore,
  { db, filesFolder }: { db: Db; filesFolder: string },
): Promise<Moved> {
  const moved = { copied: 0, bytes: 0, missing: 0 };
  let after = ["", ""];
  for (;;) {
    const page = await db.withPlatform((tx) =>
      tx.query<Content>({
        text: `SELECT workspace_id, sha256, object, size_bytes FROM file_contents WHERE (workspace_id, sha256) > ($1, $2)
               ORDER BY workspace_id, sha256 LIMIT $3`,
        values: [...after, PAGE],
      }),
    );
    for (const { workspace_id: workspaceId, sha256, object, size_bytes: sizeBytes } of page) {
      after = [workspaceId, sha256];
      const path = join(filesFolder, objectPath({ workspaceId, object }));
      if (!(await isThere(path))) {
        moved.missing += 1;
        continue;
      }
      await objects.put({ workspaceId, object }, { path, sizeBytes, sha256 });
      moved.copied += 1;
      moved.bytes += sizeBytes;
    }
    if (page.length < PAGE) return moved;
  }
}

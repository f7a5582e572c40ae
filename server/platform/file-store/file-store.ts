import { rm } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { Db, WorkspaceTx } from "../db.ts";
import type { Logger } from "../log.ts";
import {
  findObject,
  type FileKey,
  readStorageUse,
  type StorageUse,
  type StoredFile,
} from "./contents.ts";
import { keepContents } from "./keep-contents.ts";
import { contentMissing, type ObjectStore } from "./object-store.ts";
import { createSpool, type Source } from "./spool.ts";
import { removeUnnamedContents } from "./unnamed-contents.ts";

/** A content that has arrived on this machine but is not part of the store yet. */
export type StagedFile = StoredFile & { path: string; discard(): Promise<void> };

/**
 * Contents of uploads, artifacts and run folders, kept and counted once per workspace under their SHA-256. Whoever
 * stores one names it in a table of its own soon after: what nothing names is removed.
 */
export type FileStore = {
  /** What a workspace may store when nothing else was agreed with it; null is none. */
  quotaBytes: number | null;
  /**
   * Stores a stream and answers only when the bytes are durable. Nothing is kept when it fails.
   * Throws `file_too_large` (413) above `maxBytes`, `storage_quota_exceeded` (413) above the workspace's quota,
   * `storage_full` (507) and `storage_unavailable` (503).
   */
  put(file: Source & { workspaceId: string }): Promise<StoredFile>;
  /** The first half of it, for contents that are kept together or not at all. The caller discards it in the end. */
  stage(source: Source): Promise<StagedFile>;
  /** The second half: counts all of them against the quota or none, then stores them. Doing it again changes nothing. */
  keep(workspaceId: string, files: readonly StagedFile[]): Promise<void>;
  /** Reads a content from its start. Throws `content_missing` (500) when the workspace has none. */
  open(key: FileKey): Promise<Readable>;
  /** What the transaction's workspace stores, and may store. */
  use(tx: WorkspaceTx): Promise<StorageUse>;
  /** Removes what nothing has named for `graceMs` (default: an hour). -> how many objects */
  removeUnnamed(options?: { graceMs?: number }): Promise<number>;
};

/**
 * Contents of workspaces over the disk or a service. Each workspace has its own copy: sharing would tell one tenant
 * what another has. `spoolFolder` lies on the same disk as local contents, so that a finished one only gets its name.
 */
export function createFileStore(options: {
  db: Db;
  objects: ObjectStore;
  spoolFolder: string;
  /** What a workspace may store when nothing else was agreed with it; none when absent. */
  quotaBytes?: number | undefined;
  log: Logger;
}): FileStore {
  const { db, objects } = options;
  const quotaBytes = options.quotaBytes ?? null;
  const write = createSpool(options.spoolFolder);

  async function stage(source: Source): Promise<StagedFile> {
    const file = await write(source);
    return { ...file, discard: () => rm(file.path, { force: true }) };
  }

  const keep: FileStore["keep"] = (workspaceId, files) =>
    keepContents(db, { workspaceId, files, objects, quotaBytes });

  return {
    quotaBytes,
    stage,
    keep,
    async put({ workspaceId, ...source }) {
      const staged = await stage(source);
      try {
        await keep(workspaceId, [staged]);
        return { sha256: staged.sha256, sizeBytes: staged.sizeBytes };
      } finally {
        await staged.discard();
      }
    },
    use: (tx) => readStorageUse(tx, quotaBytes),
    async open(key) {
      const object = await findObject(db, key);
      if (object === undefined)
        throw contentMissing({ workspaceId: key.workspaceId, object: key.sha256 });
      return objects.open({ workspaceId: key.workspaceId, object });
    },
    removeUnnamed: ({ graceMs } = {}) =>
      removeUnnamedContents({ ...options, ...(graceMs === undefined ? {} : { graceMs }) }),
  };
}

import { rm } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { ObjectStore } from "./object-store.ts";
import { createSpool, type Source } from "./spool.ts";

/** Names a stored content: the workspace that owns it, and its SHA-256 in lower-case hex. */
export type FileKey = { workspaceId: string; sha256: string };
export type StoredFile = { sha256: string; sizeBytes: number };

/** A content that has arrived on this machine but is not part of the store yet. */
export type StagedFile = StoredFile & { path: string; discard(): Promise<void> };

/** Contents of uploads and artifacts, kept once per workspace under their SHA-256. */
export type FileStore = {
  /**
   * Stores a stream and answers only when the bytes are durable. Nothing is kept when it fails.
   * Throws `file_too_large` (413) above `maxBytes`, `storage_full` (507) and `storage_unavailable` (503).
   */
  put(file: Source & { workspaceId: string }): Promise<StoredFile>;
  /** The first half of it, for contents that are kept together or not at all. The caller discards it in the end. */
  stage(source: Source): Promise<StagedFile>;
  /** The second half: stores staged contents. Doing it again changes nothing. */
  keep(workspaceId: string, files: readonly StagedFile[]): Promise<void>;
  /** Reads a content from its start. Throws `content_missing` (500) when the workspace has none. */
  open(key: FileKey): Promise<Readable>;
};

/** Uploads to a service take a round trip each. */
const AT_ONCE = 8;

/**
 * Contents of workspaces over the disk or a service. Each workspace has its own copy: sharing would tell one tenant
 * what another has. `spoolFolder` lies on the same disk as local contents, so that a finished one is only renamed.
 */
export function createFileStore(options: { objects: ObjectStore; spoolFolder: string }): FileStore {
  const { objects } = options;
  const write = createSpool(options.spoolFolder);

  async function stage(source: Source): Promise<StagedFile> {
    const file = await write(source);
    return { ...file, discard: () => rm(file.path, { force: true }) };
  }

  async function keep(workspaceId: string, files: readonly StagedFile[]): Promise<void> {
    const waiting = [...new Map(files.map((file) => [file.sha256, file])).values()];
    const workers = Array.from({ length: Math.min(AT_ONCE, waiting.length) }, async () => {
      for (let file = waiting.pop(); file !== undefined; file = waiting.pop())
        await objects.put({ workspaceId, object: file.sha256 }, file);
    });
    await Promise.all(workers);
  }

  return {
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
    open: ({ workspaceId, sha256 }) => objects.open({ workspaceId, object: sha256 }),
  };
}

import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { AppError, invariant } from "./errors.ts";
import { hasCode } from "./system-error.ts";

/** Names a stored content: the workspace that owns it, and its SHA-256 in lower-case hex. */
export type FileKey = { workspaceId: string; sha256: string };
export type StoredFile = { sha256: string; sizeBytes: number };

/** A content that has arrived but is not part of the store yet; one of the two must be called. */
export type StagedFile = StoredFile & { keep(): Promise<void>; discard(): Promise<void> };
type Incoming = { workspaceId: string; stream: AsyncIterable<Uint8Array>; maxBytes: number };

/** Contents of uploads and artifacts, kept once per workspace under their SHA-256. */
export type FileStore = {
  /**
   * Stores a stream and answers only when the bytes are durable. Nothing is kept when it fails.
   * Throws `file_too_large` (413) above `maxBytes` and `storage_full` (507) when the disk is full.
   */
  put(file: Incoming): Promise<StoredFile>;
  /** The same in two steps, for contents that are kept together or not at all. */
  stage(file: Incoming): Promise<StagedFile>;
  /** Reads a content from its start; the stream fails with ENOENT when there is none. */
  open(key: FileKey): Readable;
  /** Size in bytes, or undefined when the workspace has no such content. */
  size(key: FileKey): Promise<number | undefined>;
  /** Where the content lies on the disk; it must not be written to. */
  path(key: FileKey): string;
};

/** An unfinished write this old belongs to a process that is gone. */
const ABANDONED_AFTER_MS = 24 * 3_600_000;
const WORKSPACE_ID = /^ws_[0-9a-z]{1,40}$/;
const SHA256 = /^[0-9a-f]{64}$/;

/** Writes the stream to a new file and makes it durable, hashing as it goes. */
async function writeHashed(
  path: string,
  source: { stream: AsyncIterable<Uint8Array>; maxBytes: number },
): Promise<StoredFile> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  const file = await open(path, "wx", 0o600);
  try {
    for await (const chunk of source.stream) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > source.maxBytes) {
        throw new AppError({
          code: "file_too_large",
          status: 413,
          publicMessage: `The file is larger than ${source.maxBytes} bytes.`,
          hint: "Send a smaller file.",
        });
      }
      hash.update(chunk);
      // writeFile on a handle goes on at its position and repeats short writes.
      await file.writeFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { sha256: hash.digest("hex"), sizeBytes };
}

/** A rename is durable only once the folder that holds the new name is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function removeAbandoned(incoming: string): Promise<void> {
  for (const name of await readdir(incoming)) {
    const path = join(incoming, name);
    const age = Date.now() - (await stat(path).catch(() => ({ mtimeMs: Date.now() }))).mtimeMs;
    if (age > ABANDONED_AFTER_MS) await rm(path, { force: true });
  }
}

function translated(error: unknown): unknown {
  if (!hasCode(error, "ENOSPC", "EDQUOT")) return error;
  return new AppError({
    code: "storage_full",
    status: 507,
    publicMessage: "There is no room left to store files.",
    hint: "Ask the operator to free disk space; nothing of this request was kept.",
    cause: error,
    retryable: true,
    retryAfterMs: 60_000,
  });
}

/**
 * A file store on the local disk: `<root>/<workspace>/<first two hex digits>/<sha256>`. Contents appear by rename, so a
 * reader never sees half of one. Each workspace has its own copy: sharing would tell one tenant what another has.
 */
export function createFileStore(options: { root: string }): FileStore {
  const prepared = new Map<string, Promise<string>>();

  async function prepare(workspaceId: string): Promise<string> {
    const incoming = join(options.root, workspaceId, ".incoming");
    await mkdir(incoming, { recursive: true, mode: 0o700 });
    await removeAbandoned(incoming);
    return incoming;
  }

  /** Makes the folder for unfinished writes, once per workspace and process. */
  function incomingFolder(workspaceId: string): Promise<string> {
    invariant(WORKSPACE_ID.test(workspaceId), "a workspace id has only letters and digits");
    const existing = prepared.get(workspaceId);
    if (existing) return existing;
    const made = prepare(workspaceId);
    prepared.set(workspaceId, made);
    made.catch(() => prepared.delete(workspaceId));
    return made;
  }

  function path(key: FileKey): string {
    invariant(WORKSPACE_ID.test(key.workspaceId), "a workspace id has only letters and digits");
    invariant(SHA256.test(key.sha256), "a SHA-256 is 64 lower-case hex digits");
    return join(options.root, key.workspaceId, key.sha256.slice(0, 2), key.sha256);
  }

  async function stage(file: Incoming): Promise<StagedFile> {
    const unfinished = join(
      await incomingFolder(file.workspaceId),
      randomBytes(16).toString("hex"),
    );
    const discard = (): Promise<void> => rm(unfinished, { force: true });
    try {
      const stored = await writeHashed(unfinished, file);
      const final = path({ workspaceId: file.workspaceId, sha256: stored.sha256 });
      return {
        ...stored,
        discard,
        async keep() {
          const folder = dirname(final);
          await mkdir(folder, { recursive: true, mode: 0o700 });
          await rename(unfinished, final);
          await syncFolder(folder);
        },
      };
    } catch (error) {
      await discard();
      throw translated(error);
    }
  }

  async function put(file: Incoming): Promise<StoredFile> {
    const { keep, discard, ...stored } = await stage(file);
    try {
      await keep();
      return stored;
    } catch (error) {
      await discard();
      throw translated(error);
    }
  }

  return {
    put,
    stage,
    path,
    open: (key) => createReadStream(path(key)),
    async size(key) {
      try {
        return (await stat(path(key))).size;
      } catch (error) {
        if (hasCode(error, "ENOENT")) return undefined;
        throw error;
      }
    },
  };
}

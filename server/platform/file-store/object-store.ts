import type { Readable } from "node:stream";
import { AppError, invariant } from "../errors.ts";

/** Names a content in the store: the workspace that owns it, and its name there, which begins with its SHA-256. */
export type ObjectName = { workspaceId: string; object: string };

/** A finished file on this machine's disk. */
export type LocalFile = { path: string; sizeBytes: number; sha256: string };

/**
 * Where contents lie: the disk of one machine, or a service that all machines reach. It knows nothing of who may have
 * what, and one name never gets a second content. Errors are `AppError`s: `storage_full` (507) where there is no room,
 * `storage_unavailable` (503, retryable) where the store cannot be reached or refuses for the moment.
 */
export type ObjectStore = {
  /** For people: `the disk of this machine`, `bucket guildhall at …`. */
  readonly description: string;
  /** Proves that it can be written, read and deleted from. Throws `AppError` that says which setting to correct. */
  check(): Promise<void>;
  /** Resolves when the content is durable. The file stays the caller's. Doing it again changes nothing. */
  put(name: ObjectName, file: LocalFile): Promise<void>;
  /** Reads from the start. Throws `content_missing` (500) when there is none. */
  open(name: ObjectName): Promise<Readable>;
  /** Resolves also when there is none. */
  remove(name: ObjectName): Promise<void>;
};

const WORKSPACE_ID = /^ws_[0-9a-z]{1,40}$/;
const OBJECT = /^[0-9a-f]{64}(?:\.\d{1,19})?$/;

/** `<workspace>/<first two hex digits>/<name>`: the same below a folder and in a bucket. */
export function objectPath({ workspaceId, object }: ObjectName): string {
  invariant(WORKSPACE_ID.test(workspaceId), "a workspace id has only letters and digits");
  invariant(OBJECT.test(object), "the name of a content is its SHA-256, with a number at most");
  return `${workspaceId}/${object.slice(0, 2)}/${object}`;
}

export function contentMissing(name: ObjectName, cause?: unknown): AppError {
  return new AppError({
    code: "content_missing",
    status: 500,
    publicMessage: "The file is known, but its content is not in the file store.",
    hint: "Tell the operator the request id.",
    internal: `there is no ${objectPath(name)}`,
    cause,
  });
}

export function storageFull(cause: unknown): AppError {
  return new AppError({
    code: "storage_full",
    status: 507,
    publicMessage: "There is no room left to store files.",
    hint: "Ask the operator to free space; nothing of this was kept.",
    cause,
    retryable: true,
    retryAfterMs: 60_000,
  });
}

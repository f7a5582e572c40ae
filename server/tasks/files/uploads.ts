import type { Upload } from "@guildhall/sdk/contract/task.ts";
import { appendAudit } from "../../audit/audit.ts";
import type { Db, WorkspaceTx } from "../../platform/db.ts";
import { AppError, type FieldProblem } from "../../platform/errors.ts";
import type { FileStore, StagedFile } from "../../platform/file-store/file-store.ts";
import { newId } from "../../platform/ids.ts";
import type { Caller } from "../caller.ts";
import { createUploadPaths, type UploadPaths } from "./upload-paths.ts";

/** One file as it arrives: it must be read before the next one comes. */
export type IncomingFile = { path: string; stream: AsyncIterable<Uint8Array> };

export type Uploads = {
  /**
   * Keeps files that belong together, all or none. Throws `upload_path_invalid` and `upload_empty` (400),
   * `upload_too_large` and `upload_too_many_files` (413).
   */
  create(request: { caller: Caller; files: AsyncIterable<IncomingFile> }): Promise<Upload>;
  /** Refuses by its announced length what cannot fit, before a byte of it is read. */
  requireFits(contentLength: number | undefined): void;
};

type KeptFile = { path: string; staged: StagedFile };

/** Boundaries and headers of a file in a multipart body; generous. */
const FRAME_BYTES = 4_096;

function pathInvalid(problem: FieldProblem): AppError {
  return new AppError({
    code: "upload_path_invalid",
    status: 400,
    publicMessage: `A file cannot be kept: ${problem.field}: ${problem.message}.`,
    hint: "Send relative paths such as data/a.csv, each once. Nothing of this upload was kept.",
    fields: [problem],
  });
}

function tooLarge(maxBytes: number): AppError {
  return new AppError({
    code: "upload_too_large",
    status: 413,
    publicMessage: `The files are larger than ${maxBytes} bytes together.`,
    hint: "Send fewer or smaller files. Nothing of this upload was kept.",
    extensions: { max_bytes: maxBytes },
  });
}

function tooMany(maxFiles: number): AppError {
  return new AppError({
    code: "upload_too_many_files",
    status: 413,
    publicMessage: `An upload has at most ${maxFiles} files.`,
    hint: "Send fewer files, or pack them into one. Nothing of this upload was kept.",
    extensions: { max_files: maxFiles },
  });
}

function noFiles(): AppError {
  return new AppError({
    code: "upload_empty",
    status: 400,
    publicMessage: "The upload has no files.",
    hint: "Send each file as a multipart part named `files`, with its path as the filename.",
    fields: [{ field: "files", message: "at least one file is required" }],
  });
}

async function insertUpload(
  tx: WorkspaceTx,
  caller: Caller,
  files: readonly KeptFile[],
): Promise<Upload> {
  const id = newId("upl");
  const listed = files.map(({ path, staged }) => ({
    path,
    size_bytes: staged.sizeBytes,
    sha256: staged.sha256,
  }));
  const [row] = await tx.query<{ created_at: Date }>({
    text: `WITH upload AS (
        INSERT INTO uploads (workspace_id, id, created_by) VALUES (current_workspace(), $1, $2) RETURNING created_at
      ), files AS (
        INSERT INTO upload_files (workspace_id, upload_id, path, size_bytes, sha256)
          SELECT current_workspace(), $1, f.path, f.size_bytes, f.sha256 FROM jsonb_to_recordset($3::jsonb) AS f(path text, size_bytes bigint, sha256 text)
      ) SELECT created_at FROM upload`,
    values: [id, caller.actor, JSON.stringify(listed)],
  });
  const { actor, origin } = caller;
  await appendAudit(tx, { actor, origin, action: "upload.created", target: id, after: listed });
  return { id, files: listed, created_at: (row?.created_at ?? new Date(0)).toISOString() };
}

export function createUploads(options: {
  db: Db;
  files: FileStore;
  limits: { maxBytes: number; maxFiles: number };
}): Uploads {
  const { db, files: store, limits } = options;

  async function stage(
    file: IncomingFile,
    upload: { paths: UploadPaths; maxBytes: number },
  ): Promise<KeptFile> {
    const { maxBytes } = upload;
    const accepted = upload.paths.add(file.path);
    if ("problem" in accepted) throw pathInvalid(accepted.problem);
    try {
      const staged = await store.stage({ stream: file.stream, maxBytes });
      return { path: accepted.path, staged };
    } catch (error) {
      if (error instanceof AppError && error.code === "file_too_large")
        throw tooLarge(limits.maxBytes);
      throw error;
    }
  }

  return {
    async create({ caller, files }) {
      const { workspaceId } = caller;
      const paths = createUploadPaths();
      const kept: KeptFile[] = [];
      let leftBytes = limits.maxBytes;
      try {
        for await (const file of files) {
          if (kept.length === limits.maxFiles) throw tooMany(limits.maxFiles);
          const next = await stage(file, { paths, maxBytes: leftBytes });
          leftBytes -= next.staged.sizeBytes;
          kept.push(next);
        }
        if (kept.length === 0) throw noFiles();
        // Contents first: a row never names a content that is not there.
        await store.keep(
          workspaceId,
          kept.map(({ staged }) => staged),
        );
        return await db.withWorkspace(workspaceId, (tx) => insertUpload(tx, caller, kept));
      } finally {
        await Promise.all(kept.map(({ staged }) => staged.discard()));
      }
    },
    requireFits(contentLength) {
      const most = limits.maxBytes + (limits.maxFiles + 1) * FRAME_BYTES;
      if (contentLength !== undefined && contentLength > most) throw tooLarge(limits.maxBytes);
    },
  };
}

import { basename, extname } from "node:path";
import type { Readable } from "node:stream";
import type { Artifact } from "@guildhall/sdk/contract/task.ts";
import type { Db } from "../../platform/db.ts";
import { AppError } from "../../platform/errors.ts";
import type { FileStore } from "../../platform/file-store/file-store.ts";
import { findArtifacts, findTask } from "../task-queries.ts";
import { taskNotFound } from "../task-errors.ts";

/** A file that an agent wrote, with how it may be handed to a browser. */
export type ArtifactContent = {
  path: string;
  sizeBytes: number;
  sha256: string;
  stream: Readable;
};

export type Artifacts = {
  /** By path. Throws `task_not_found` (404). */
  list(workspaceId: string, taskId: string): Promise<Artifact[]>;
  /** Throws `artifact_not_found` (404) and what the file store throws. */
  open(workspaceId: string, id: string): Promise<ArtifactContent>;
};

/** Types that a browser shows without running anything. Markup (HTML, SVG, XML, PDF) is never among them. */
const inlineTypes: Readonly<Record<string, string>> = {
  ".txt": "text/plain; charset=utf-8",
  ".log": "text/plain; charset=utf-8",
  ".md": "text/plain; charset=utf-8",
  ".markdown": "text/plain; charset=utf-8",
  ".csv": "text/plain; charset=utf-8",
  ".tsv": "text/plain; charset=utf-8",
  ".json": "text/plain; charset=utf-8",
  ".jsonl": "text/plain; charset=utf-8",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".jpeg": "image/jpeg",
  ".gif": "image/gif",
  ".webp": "image/webp",
};

/** The type to show a file as, or undefined when it may only be downloaded. */
export function inlineTypeOf(path: string): string | undefined {
  return inlineTypes[extname(path).toLowerCase()];
}

/** `Content-Disposition` (RFC 6266) with the name in ASCII for old clients and in UTF-8 (RFC 8187) for the others. */
export function dispositionOf(kind: "inline" | "attachment", path: string): string {
  const name = basename(path);
  const ascii = name.replace(/[^\w.\- ]/gu, "_");
  const utf8 = encodeURIComponent(name).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `${kind}; filename="${ascii}"; filename*=UTF-8''${utf8}`;
}

function artifactNotFound(): AppError {
  return new AppError({
    code: "artifact_not_found",
    status: 404,
    publicMessage: "There is no such artifact.",
    hint: "GET /v1/tasks/:id/artifacts lists the files of a task.",
  });
}

export function createArtifacts(options: { db: Db; files: FileStore }): Artifacts {
  const { db, files } = options;
  return {
    list: (workspaceId, taskId) =>
      db.withWorkspace(workspaceId, async (tx) => {
        if (!(await findTask(tx, taskId))) throw taskNotFound();
        return findArtifacts(tx, taskId);
      }),
    async open(workspaceId, id) {
      const [row] = await db.withWorkspace(workspaceId, (tx) =>
        tx.query<{ path: string; size_bytes: number; sha256: string }>({
          text: "SELECT path, size_bytes, sha256 FROM artifacts WHERE workspace_id = current_workspace() AND id = $1",
          values: [id],
        }),
      );
      if (!row) throw artifactNotFound();
      const { path, size_bytes: sizeBytes, sha256 } = row;
      return { path, sizeBytes, sha256, stream: await files.open({ workspaceId, sha256 }) };
    },
  };
}

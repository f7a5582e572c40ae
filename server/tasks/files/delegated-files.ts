import type { WorkspaceTx } from "../../platform/db.ts";
import { AppError } from "../../platform/errors.ts";
import type { StoredFile } from "../../platform/file-store/contents.ts";
import type { FileStore } from "../../platform/file-store/file-store.ts";
import type { RunFolder } from "../../tools/run-folder.ts";

/** What a delegated task wrote, under the path that it gets in the folder of the run that delegated it. */
export type DelegatedFile = StoredFile & { path: string; childTaskId: string };

type Row = {
  child_task_id: string;
  agent_id: string;
  nth: number;
  path: string;
  size_bytes: number;
  sha256: string;
};

/** The files of all ended tasks that this one delegated. A second task of one agent gets a folder of its own. */
export async function findDelegatedFiles(
  tx: WorkspaceTx,
  taskId: string,
): Promise<DelegatedFile[]> {
  const rows = await tx.query<Row>({
    text: `SELECT c.id AS child_task_id, c.agent_id, c.nth, a.path, a.size_bytes, a.sha256
           FROM (SELECT t.id, t.agent_id, t.ended_at, row_number() OVER (PARTITION BY t.agent_id ORDER BY t.id) AS nth
                   FROM tasks t WHERE t.workspace_id = $1 AND t.parent_task_id = $2) c
           JOIN artifacts a ON a.workspace_id = $1 AND a.task_id = c.id
           WHERE c.ended_at IS NOT NULL ORDER BY c.id, a.path`,
    values: [tx.workspaceId, taskId],
  });
  return rows.map((row) => ({
    childTaskId: row.child_task_id,
    path: `from-${row.agent_id}${row.nth === 1 ? "" : `-${row.nth}`}/${row.path}`,
    sizeBytes: row.size_bytes,
    sha256: row.sha256,
  }));
}

/**
 * Copies the files that are not there yet. One that the folder refuses (no room, a path that is too long) is left out
 * and named: the result of finished work must not be lost for it.
 */
export async function placeDelegatedFiles(
  { folder, files, workspaceId }: { folder: RunFolder; files: FileStore; workspaceId: string },
  wanted: readonly DelegatedFile[],
): Promise<{ leftOut: Set<string> }> {
  const leftOut = new Set<string>();
  if (wanted.length === 0) return { leftOut };
  const present = new Set((await folder.listWritten()).map((file) => file.path));
  for (const { path, sha256 } of wanted) {
    if (present.has(path)) continue;
    try {
      await folder.copyIn(await files.open({ workspaceId, sha256 }), path);
    } catch (error) {
      if (!(error instanceof AppError) || error.code === "storage_unavailable") throw error;
      leftOut.add(path);
    }
  }
  return { leftOut };
}

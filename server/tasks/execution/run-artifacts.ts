import type { Artifact } from "@guildhall/sdk/contract/task.ts";
import type { WorkspaceTx } from "../../platform/db.ts";
import type { StoredFile } from "../../platform/file-store/contents.ts";
import { newId } from "../../platform/ids.ts";
import type { Claim } from "./run-claims.ts";

/** Names a stored content as the task's artifact of that path; the newest content of a path wins. */
export async function upsertArtifact(
  tx: WorkspaceTx,
  claim: Claim,
  file: StoredFile & { path: string },
): Promise<Artifact> {
  const [row] = await tx.query<{ id: string; created_at: Date }>({
    text: `INSERT INTO artifacts AS a (workspace_id, id, task_id, run_id, path, size_bytes, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)
           ON CONFLICT (workspace_id, task_id, path) DO UPDATE
             SET run_id = excluded.run_id, size_bytes = excluded.size_bytes, sha256 = excluded.sha256, created_at = clock_now()
           RETURNING id, created_at`,
    values: [
      claim.workspaceId,
      newId("art"),
      claim.taskId,
      claim.runId,
      file.path,
      file.sizeBytes,
      file.sha256,
    ],
  });
  return {
    id: row?.id ?? "",
    path: file.path,
    size_bytes: file.sizeBytes,
    sha256: file.sha256,
    created_at: (row?.created_at ?? new Date()).toISOString(),
  };
}

import { appendAudit } from "../audit/audit.ts";
import { speakFor, type Tx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";

/** What a workspace may store; bytes, null is no quota, "default" is what the installation gives to all. */
export type AgreedQuota = number | null | "default";

type Row = { used: number; agreed: number | null; own: boolean };

/**
 * Agrees a storage quota with a workspace. One below what it has stored removes nothing and lets nothing more in. Only
 * from a platform transaction. Throws `workspace_not_found` (404). -> what it has stored, bytes
 */
export async function setStorageQuota(
  tx: Tx,
  change: { workspaceId: string; quota: AgreedQuota; actor: string; origin: string },
): Promise<{ usedBytes: number }> {
  const { workspaceId, quota, actor, origin } = change;
  const own = await speakFor(tx, workspaceId);
  const [workspace] = await own.query({
    text: "SELECT 1 FROM workspaces WHERE workspace_id = $1",
    values: [workspaceId],
  });
  if (workspace === undefined)
    throw new AppError({
      code: "workspace_not_found",
      status: 404,
      publicMessage: `There is no workspace ${workspaceId}.`,
      hint: "Ids of workspaces begin with ws_; `guildhall studio` shows them.",
    });
  const isOwn = quota !== "default";
  const [before] = await own.query<Row>({
    text: `SELECT used_bytes AS used, has_own_quota AS own, own_quota_bytes AS agreed FROM workspace_storage WHERE workspace_id = $1`,
    values: [workspaceId],
  });
  await own.query({
    text: `INSERT INTO workspace_storage (workspace_id, has_own_quota, own_quota_bytes) VALUES ($1, $2, $3)
           ON CONFLICT (workspace_id) DO UPDATE SET has_own_quota = excluded.has_own_quota, own_quota_bytes = excluded.own_quota_bytes`,
    values: [workspaceId, isOwn, isOwn ? quota : null],
  });
  await appendAudit(own, {
    actor,
    origin,
    action: "storage_quota.agreed",
    target: `workspace/${workspaceId}`,
    before: before?.own === true ? before.agreed : "default",
    after: quota,
  });
  return { usedBytes: before?.used ?? 0 };
}

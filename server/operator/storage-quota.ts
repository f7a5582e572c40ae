import { appendAudit } from "../audit/audit.ts";
import { speakFor, type Tx, type WorkspaceTx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { readStorageUse } from "../platform/file-store/contents.ts";

/** What a workspace may store; bytes, null is no quota, "default" is what the installation gives to all. */
export type AgreedQuota = number | null | "default";

/** The newest agreement with a workspace, and what it stores; bytes. */
export type StorageAgreement = { quota: AgreedQuota; usedBytes: number };

async function speakForKnown(tx: Tx, workspaceId: string): Promise<WorkspaceTx> {
  const own = await speakFor(tx, workspaceId);
  const [workspace] = await own.query({
    text: "SELECT 1 FROM workspaces WHERE workspace_id = $1",
    values: [workspaceId],
  });
  if (workspace !== undefined) return own;
  throw new AppError({
    code: "workspace_not_found",
    status: 404,
    publicMessage: `There is no workspace ${workspaceId}.`,
    hint: "Ids of workspaces begin with ws_; `guildhall studio` shows them.",
  });
}

async function readAgreement(own: WorkspaceTx): Promise<StorageAgreement & { version: number }> {
  const [row] = await own.query<{ version: number; is_own: boolean; quota_bytes: number | null }>({
    text: "SELECT version, is_own, quota_bytes FROM storage_agreements WHERE workspace_id = $1 ORDER BY version DESC LIMIT 1",
    values: [own.workspaceId],
  });
  const { usedBytes } = await readStorageUse(own, null);
  return {
    version: row?.version ?? 0,
    quota: row?.is_own === true ? row.quota_bytes : "default",
    usedBytes,
  };
}

/** Only from a platform transaction. Throws `workspace_not_found` (404). */
export async function readStorageAgreement(tx: Tx, workspaceId: string): Promise<StorageAgreement> {
  const { quota, usedBytes } = await readAgreement(await speakForKnown(tx, workspaceId));
  return { quota, usedBytes };
}

/**
 * Agrees a storage quota with a workspace. One below what it has stored removes nothing and lets nothing more in. Only
 * from a platform transaction. Throws `workspace_not_found` (404).
 */
export async function setStorageQuota(
  tx: Tx,
  change: { workspaceId: string; quota: AgreedQuota; actor: string; origin: string },
): Promise<StorageAgreement> {
  const { workspaceId, quota, actor, origin } = change;
  const own = await speakForKnown(tx, workspaceId);
  const before = await readAgreement(own);
  const isOwn = quota !== "default";
  await own.query({
    text: "INSERT INTO storage_agreements (workspace_id, version, is_own, quota_bytes, changed_by) VALUES ($1, $2, $3, $4, $5)",
    values: [workspaceId, before.version + 1, isOwn, isOwn ? quota : null, actor],
  });
  await appendAudit(own, {
    actor,
    origin,
    action: "storage_quota.agreed",
    target: `workspace/${workspaceId}`,
    before: before.quota,
    after: quota,
  });
  return { quota, usedBytes: before.usedBytes };
}

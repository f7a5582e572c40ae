import { z } from "zod";
import type { Db, WorkspaceTx } from "../db.ts";
import { AppError, invariant } from "../errors.ts";

/** Names a stored content: the workspace that owns it, and its SHA-256 in lower-case hex. */
export type FileKey = { workspaceId: string; sha256: string };
export type StoredFile = { sha256: string; sizeBytes: number };

const reservationSchema = z.discriminatedUnion("status", [
  z.object({
    status: z.literal("reserved"),
    missing: z.array(z.object({ sha256: z.string(), object: z.string() })),
  }),
  z.object({
    status: z.literal("over_quota"),
    quota_bytes: z.int(),
    used_bytes: z.int(),
    needed_bytes: z.int(),
  }),
]);

/** A content that is counted for its workspace and is not in the store yet, and the name that it gets there. */
export type Missing = { sha256: string; object: string };

const MB = 1_024 ** 2;
const inMegabytes = (bytes: number): string =>
  bytes < MB ? `${bytes} bytes` : `${(bytes / MB).toFixed(bytes < 10 * MB ? 1 : 0)} MB`;

function overQuota(answer: {
  quota_bytes: number;
  used_bytes: number;
  needed_bytes: number;
}): AppError {
  const { quota_bytes: quota, used_bytes: used, needed_bytes: needed } = answer;
  const freeBytes = Math.max(0, quota - used);
  return new AppError({
    code: "storage_quota_exceeded",
    status: 413,
    publicMessage: `The workspace may store ${inMegabytes(quota)}; ${inMegabytes(freeBytes)} of that are free, and ${inMegabytes(needed)} more were to be stored.`,
    hint: "Store less, or ask the operator for a larger storage quota. Nothing of this was kept.",
    extensions: { quota_bytes: quota, used_bytes: used, needed_bytes: needed },
  });
}

/**
 * Counts contents for the workspace before they are sent, all or none; what it has already costs nothing.
 * `quotaBytes` is the installation's, null none. Throws `storage_quota_exceeded` (413). -> which are to be sent
 */
export function reserveContents(
  db: Db,
  reservation: {
    workspaceId: string;
    files: readonly StoredFile[];
    quotaBytes?: number | null;
  },
): Promise<Missing[]> {
  const wanted = new Map(
    reservation.files.map(({ sha256, sizeBytes }) => [sha256, { sha256, size_bytes: sizeBytes }]),
  );
  return db.withWorkspace(reservation.workspaceId, async (tx) => {
    const [row] = await tx.query<{ answer: unknown }>({
      name: "reserve_contents",
      text: "SELECT reserve_contents($1, $2) AS answer",
      values: [JSON.stringify([...wanted.values()]), reservation.quotaBytes ?? null],
    });
    const answer = reservationSchema.parse(row?.answer);
    if (answer.status === "over_quota") throw overQuota(answer);
    return answer.missing;
  });
}

/**
 * These objects are whole in the store: whoever needs their contents next sends nothing, and they may be named. -> the
 * objects whose contents were taken out meanwhile, because this took longer than the grace
 */
export async function markStored(
  db: Db,
  workspaceId: string,
  objects: readonly string[],
): Promise<string[]> {
  if (objects.length === 0) return [];
  const [row] = await db.withWorkspace(workspaceId, (tx) =>
    tx.query<{ lost: string[] }>({
      text: "SELECT contents_stored($1) AS lost",
      values: [objects],
    }),
  );
  return row?.lost ?? [];
}

/** The name of the content's object, or undefined when the workspace has no such content. */
export async function findObject(db: Db, key: FileKey): Promise<string | undefined> {
  const [row] = await db.withWorkspace(key.workspaceId, (tx) =>
    tx.query<{ object: string }>({
      name: "find_object",
      text: "SELECT object FROM file_contents WHERE workspace_id = current_workspace() AND sha256 = $1",
      values: [key.sha256],
    }),
  );
  return row?.object;
}

/** What a workspace stores, and may store; bytes. */
export type StorageUse = {
  /** Each content once. */
  usedBytes: number;
  /** In force; null is none. */
  quotaBytes: number | null;
  /** What is in force where nothing else was agreed; null is none. */
  installationQuotaBytes: number | null;
};

export async function readStorageUse(
  tx: WorkspaceTx,
  installationQuotaBytes: number | null,
): Promise<StorageUse> {
  const [row] = await tx.query<Omit<StorageUse, "installationQuotaBytes">>({
    name: "storage_use",
    text: `SELECT coalesce((SELECT s.used_bytes FROM workspace_storage s WHERE s.workspace_id = current_workspace()), 0) AS "usedBytes",
        storage_quota($1) AS "quotaBytes"`,
    values: [installationQuotaBytes],
  });
  invariant(row, "a statement without a table has one row");
  return { ...row, installationQuotaBytes };
}

import type { Db, WorkspaceTx } from "../../platform/db.ts";
import type { Claim } from "./run-claims.ts";

/** A file of a run's folder; `sha256` null is an empty folder. */
export type KeptEntry = { path: string; sha256: string | null; sizeBytes: number; mode: number };

/** What changed in a run's folder since the state that is stored. */
export type SnapshotChange = { changed: readonly KeptEntry[]; removed: readonly string[] };

type Row = { path: string; sha256: string | null; size_bytes: number; mode: number };

/** The folder after the run's last stored step, without inputs; undefined when no step has changed it yet. */
export async function findSnapshot(
  tx: WorkspaceTx,
  runId: string,
): Promise<KeptEntry[] | undefined> {
  const taken = await tx.query({
    text: "SELECT 1 FROM run_snapshots WHERE workspace_id = $1 AND run_id = $2",
    values: [tx.workspaceId, runId],
  });
  if (taken.length === 0) return undefined;
  const rows = await tx.query<Row>({
    text: "SELECT path, sha256, size_bytes, mode FROM run_files WHERE workspace_id = $1 AND run_id = $2 ORDER BY path",
    values: [tx.workspaceId, runId],
  });
  return rows.map(({ size_bytes: sizeBytes, ...row }) => ({ ...row, sizeBytes }));
}

/** Stores the folder's state with the step, in its transaction. -> false when the attempt is stale, and then nothing was written */
export async function recordSnapshot(
  tx: WorkspaceTx,
  claim: Claim,
  { stepNo, changed, removed }: SnapshotChange & { stepNo: number },
): Promise<boolean> {
  const entries = changed.map(({ sizeBytes, ...entry }) => ({ ...entry, size_bytes: sizeBytes }));
  const [row] = await tx.query<{ recorded: boolean }>({
    text: "SELECT record_snapshot($1, $2, $3, $4, $5) AS recorded",
    values: [claim.runId, claim.epoch, stepNo, JSON.stringify(entries), removed],
  });
  return row?.recorded ?? false;
}

const FORGET_AT_ONCE = 20;

/** Forgets the folders of runs that are over; their contents go the way of all that nothing names. */
export async function forgetOldSnapshots(db: Db): Promise<void> {
  for (;;) {
    const [row] = await db.ledger<{ forgotten: number }>({
      text: "SELECT forget_snapshots($1) AS forgotten",
      values: [FORGET_AT_ONCE],
    });
    if ((row?.forgotten ?? 0) < FORGET_AT_ONCE) return;
  }
}

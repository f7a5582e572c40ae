import type { Db } from "./db.ts";
import { untilFewer } from "./until-fewer.ts";

/** A fact that was written with the change it tells of, and is handed on after commit. */
export type OutboxRow = {
  workspace_id: string;
  position: number;
  topic: string;
  payload: Record<string, unknown>;
};

const BATCH = 500;
/** Transactions in a row, so that it keeps up with more than so many rows between two polls. */
const BATCHES_AT_ONCE = 20;

type Deliver = (rows: readonly OutboxRow[]) => Promise<void>;

function relayBatch(db: Db, deliver: Deliver): Promise<number> {
  return db.withPlatform(async (tx) => {
    const rows = await tx.query<OutboxRow>({
      name: "take_outbox",
      text: `DELETE FROM outbox WHERE (workspace_id, position) IN (
               SELECT workspace_id, position FROM outbox WHERE txid < pg_snapshot_xmin(pg_current_snapshot())
               ORDER BY position LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)
             RETURNING workspace_id, position, topic, payload`,
      values: [],
    });
    if (rows.length > 0) await deliver(rows.toSorted((a, b) => a.position - b.position));
    return rows.length;
  });
}

/**
 * Hands committed rows to `deliver` in the order of their positions, and removes them in the same transaction: when
 * delivery throws they stay for the next time, so a receiver may see a row twice, never not at all. Several processes
 * may relay at once; each skips what another one holds.
 * -> how many rows were handed on
 */
export function relayOutbox(db: Db, deliver: Deliver): Promise<number> {
  return untilFewer({ atMost: BATCH, times: BATCHES_AT_ONCE }, () => relayBatch(db, deliver));
}

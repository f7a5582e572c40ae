import type { WorkspaceEvent } from "@guildhall/sdk/contract/alert.ts";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import type { Db } from "../platform/db.ts";

/** An event of a task's stream; or of the stream of the workspace itself, whose id is the workspace's. */
export type FeedEvent = { workspaceId: string } & (
  | { event: Event; workspaceEvent?: never }
  | { event?: never; workspaceEvent: WorkspaceEvent }
);

type Row = {
  workspace_id: string;
  position: number;
  stream_id: string;
  seq: number;
  type: string;
  data: unknown;
  at: Date;
};

const BATCH = 1_000;

/** The writers of events are typed by the contract, and the stored JSON is what they wrote. */
function toFeedEvent(row: Row): FeedEvent {
  const { workspace_id: workspaceId, stream_id, seq, type, data } = row;
  const at = row.at.toISOString();
  return stream_id === workspaceId
    ? { workspaceId, workspaceEvent: { seq, at, type, data } as WorkspaceEvent }
    : { workspaceId, event: { stream_id, seq, at, type, data } as Event };
}

/** The position that a reader starts from when only news count. */
export async function newestPosition(db: Db): Promise<number> {
  const rows = await db.withPlatform((tx) =>
    tx.query<{ position: number }>({
      text: `SELECT coalesce(max(position), 0) AS position FROM events WHERE txid < pg_snapshot_xmin(pg_current_snapshot())`,
      values: [],
    }),
  );
  return rows[0]?.position ?? 0;
}

/**
 * The next events of all workspaces in the order of their positions. Positions are given before commit, so a reader
 * that took every row it sees would skip one that commits late; it stops below the oldest open transaction instead.
 */
export async function readFeed(
  db: Db,
  after: number,
): Promise<{ events: FeedEvent[]; position: number; more: boolean }> {
  const rows = await db.withPlatform((tx) =>
    tx.query<Row>({
      name: "read_feed",
      text: `SELECT workspace_id, position, stream_id, seq, type, data, at FROM events
             WHERE position > $1 AND txid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY position LIMIT ${BATCH}`,
      values: [after],
    }),
  );
  const events = rows.map(toFeedEvent);
  return { events, position: rows.at(-1)?.position ?? after, more: rows.length === BATCH };
}

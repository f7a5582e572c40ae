import type { Alert, AlertList } from "@guildhall/sdk/contract/alert.ts";
import type { Db, WorkspaceTx } from "../platform/db.ts";

export type AlertQuery = {
  workspaceId: string;
  /** Whose reading decides what is unread: the user, or who made the key. */
  userId: string;
  before?: number | undefined;
  limit: number;
  unreadOnly: boolean;
};

export type Alerts = {
  /** Newest first. */
  list(query: AlertQuery): Promise<AlertList>;
  /** Everything up to `through` is read by this person; an older number changes nothing. -> how many stay unread */
  markRead(request: { workspaceId: string; userId: string; through: number }): Promise<number>;
};

const READ_THROUGH = `coalesce((SELECT r.read_through FROM alert_reads r WHERE r.workspace_id = current_workspace() AND r.user_id = $1), 0)`;

async function countUnread(tx: WorkspaceTx, userId: string): Promise<number> {
  const [row] = await tx.query<{ unread: number }>({
    name: "alerts_unread",
    text: `SELECT count(*) AS unread FROM limit_alerts a WHERE a.workspace_id = current_workspace() AND a.seq > ${READ_THROUGH}`,
    values: [userId],
  });
  return row?.unread ?? 0;
}

async function readPage(tx: WorkspaceTx, query: AlertQuery): Promise<Alert[]> {
  const rows = await tx.query<Omit<Alert, "at"> & { at: Date }>({
    name: "alerts_page",
    text: `SELECT a.seq, a.at, a.meter, a.level, a.scope_id, a.period, a.limit_version, a.kind, a.percent, a.limit_amount AS "limit", a.amount,
        coalesce(g.name, k.name, t.title) AS scope_name, a.seq > ${READ_THROUGH} AS unread
      FROM limit_alerts a
      LEFT JOIN agents g ON a.level = 'agent' AND g.workspace_id = a.workspace_id AND g.id = a.scope_id
      LEFT JOIN api_keys k ON a.level = 'key' AND k.workspace_id = a.workspace_id AND k.id = a.scope_id
      LEFT JOIN tasks t ON a.level = 'task' AND t.workspace_id = a.workspace_id AND t.id = a.scope_id
      WHERE a.workspace_id = current_workspace() AND ($2::bigint IS NULL OR a.seq < $2) AND (NOT $3 OR a.seq > ${READ_THROUGH})
      ORDER BY a.seq DESC LIMIT $4`,
    // One more than the page, to know whether there is a next one.
    values: [query.userId, query.before ?? null, query.unreadOnly, query.limit + 1],
  });
  return rows.map((row) => ({ ...row, at: row.at.toISOString() }));
}

/** The alerts of workspaces, and how far each person has read them. */
export function createAlerts({ db }: { db: Db }): Alerts {
  return {
    list: (query) =>
      db.withWorkspace(query.workspaceId, async (tx) => {
        const rows = await readPage(tx, query);
        const data = rows.slice(0, query.limit);
        const more = rows.length > query.limit;
        return {
          data,
          unread: await countUnread(tx, query.userId),
          next_before: more ? (data.at(-1)?.seq ?? null) : null,
        };
      }),
    markRead: ({ workspaceId, userId, through }) =>
      db.withWorkspace(workspaceId, async (tx) => {
        // Never beyond the newest: who says "all" must still be told of the next one.
        await tx.query({
          text: `INSERT INTO alert_reads AS r (workspace_id, user_id, read_through)
              SELECT current_workspace(), $1, least($2::bigint, coalesce(max(a.seq), 0)) FROM limit_alerts a WHERE a.workspace_id = current_workspace()
            ON CONFLICT (workspace_id, user_id) DO UPDATE SET read_through = greatest(r.read_through, excluded.read_through)`,
          values: [userId, through],
        });
        return countUnread(tx, userId);
      }),
  };
}

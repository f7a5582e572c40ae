import type { z } from "zod";
import type { limitChangeSchema, LimitLevel, LimitMeter } from "@guildhall/sdk/contract/limit.ts";
import type { WorkspaceTx } from "../../platform/db.ts";

export type LimitChange = z.infer<typeof limitChangeSchema>;

/** Versions of each limit, newest first, by `limitKey`. */
export type LimitChanges = ReadonlyMap<string, readonly LimitChange[]>;

/** At most so many versions of one limit are told. */
const MOST_CHANGES = 20;

export function limitKey(limit: {
  level: LimitLevel;
  scope_id: string;
  meter: LimitMeter;
}): string {
  return `${limit.level} ${limit.scope_id} ${limit.meter}`;
}

type Row = {
  level: LimitLevel;
  scope_id: string;
  meter: LimitMeter;
  version: number;
  amount: number | null;
  changed_by: string;
  changed_at: Date;
  name: string | null;
};

/** What a part of the program is called in a history. */
const PROGRAM_NAMES: Readonly<Record<string, string>> = {
  system: "Guildhall",
  plan: "The plan",
  operator: "Whoever runs this installation",
  "system:limit_ended": "Guildhall, its time was over",
};

function toChange(row: Omit<Row, "level" | "scope_id" | "meter">): LimitChange {
  const { version, amount, changed_by: changedBy, changed_at: at, name } = row;
  return {
    version,
    amount,
    changed_by: changedBy,
    changed_by_name: name ?? PROGRAM_NAMES[changedBy] ?? changedBy,
    changed_at: at.toISOString(),
  };
}

/** What was agreed about the workspace's storage, newest first; where the installation's quota was given back, as it is now. */
export async function readStorageChanges(
  tx: WorkspaceTx,
  installationQuotaBytes: number | null,
): Promise<LimitChange[]> {
  const rows = await tx.query<Omit<Row, "level" | "scope_id" | "meter">>({
    name: "storage_changes",
    text: `SELECT a.version, CASE WHEN a.is_own THEN a.quota_bytes ELSE $1::bigint END AS amount, a.changed_by, a.changed_at, NULL AS name FROM storage_agreements a
      WHERE a.workspace_id = current_workspace() ORDER BY a.version DESC LIMIT ${MOST_CHANGES}`,
    values: [installationQuotaBytes],
  });
  return rows.map(toChange);
}

/** Every limit of the workspace that was ever set, except those of tasks other than `taskIds`. */
export async function readLimitChanges(
  tx: WorkspaceTx,
  taskIds: readonly string[],
): Promise<LimitChanges> {
  const rows = await tx.query<Row>({
    name: "limit_changes",
    text: `SELECT v.level, v.scope_id, v.meter, v.version, v.amount, v.changed_by, v.changed_at, coalesce(p.name, k.name) AS name
      FROM (SELECT l.*, row_number() OVER (PARTITION BY l.meter, l.level, l.scope_id ORDER BY l.version DESC) AS place FROM limits l
        WHERE l.workspace_id = current_workspace() AND (l.level <> 'task' OR l.scope_id = ANY ($1))) v
      LEFT JOIN limit_actor_names() p ON p.actor = v.changed_by
      LEFT JOIN api_keys k ON k.workspace_id = v.workspace_id AND 'key:' || k.id = v.changed_by
      WHERE v.place <= ${MOST_CHANGES} ORDER BY v.level, v.scope_id, v.meter, v.version DESC`,
    values: [taskIds],
  });
  const changes = new Map<string, LimitChange[]>();
  for (const row of rows) {
    const key = limitKey(row);
    changes.set(key, [...(changes.get(key) ?? []), toChange(row)]);
  }
  return changes;
}

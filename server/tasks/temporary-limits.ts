import type { LimitLevel, LimitMeter, LimitRow } from "@guildhall/sdk/contract/limit.ts";
import type { setLimitSchema } from "@guildhall/sdk/contract/workspace.ts";
import type { z } from "zod";
import { limitKey } from "./limit-view/limit-changes.ts";
import type { Db, WorkspaceTx } from "../platform/db.ts";
import { validationFailed } from "../platform/http-errors.ts";

type SetLimit = z.infer<typeof setLimitSchema>;
export type TemporaryLimits = ReadonlyMap<string, NonNullable<LimitRow["temporary"]>>;

const LONGEST_MS = 366 * 86_400_000;

/** Throws `validation_failed` (400) unless the moment lies ahead, and not further than a year. */
export function checkUntil(until: string | undefined, nowMs: number): void {
  if (until === undefined) return;
  const leftMs = Date.parse(until) - nowMs;
  if (leftMs <= 0 || leftMs > LONGEST_MS)
    throw validationFailed([
      { field: "until", message: "must lie ahead, and at most 366 days from now" },
    ]);
}

/** What the limit is without the exception: of the workspace its own cap, of a task what it was made with. */
const FORMER = `CASE
  WHEN $2 = 'workspace' THEN (SELECT t.own_cap FROM limit_terms t WHERE t.workspace_id = current_workspace() AND t.meter = $1 ORDER BY t.version DESC LIMIT 1)
  ELSE coalesce((SELECT l.amount FROM limits l WHERE l.workspace_id = current_workspace() AND l.meter = $1 AND l.level = $2 AND l.scope_id = $3 ORDER BY l.version DESC LIMIT 1),
    (SELECT CASE $1 WHEN 'model_cost' THEN k.cost_limit_nano_usd WHEN 'agent_time' THEN k.agent_time_limit_ms WHEN 'model_calls' THEN k.model_call_limit WHEN 'tool_calls' THEN k.tool_call_limit END
      FROM tasks k WHERE $2 = 'task' AND k.workspace_id = current_workspace() AND k.id = $3)) END`;

/**
 * Says, before the limit is changed, that what it is now comes back at `until`; or, without a time, that an exception that
 * was running has been decided over. A second exception keeps what the first one found.
 */
export async function noteTemporary(
  tx: WorkspaceTx,
  change: Pick<SetLimit, "meter" | "level" | "until"> & { scopeId: string },
): Promise<void> {
  const { meter, level, scopeId, until } = change;
  if (until === undefined) {
    await tx.query({
      text: "DELETE FROM temporary_limits WHERE workspace_id = current_workspace() AND meter = $1 AND level = $2 AND scope_id = $3",
      values: [meter, level, scopeId],
    });
    return;
  }
  await tx.query({
    text: `INSERT INTO temporary_limits AS e (workspace_id, meter, level, scope_id, former, former_limit, ends_at)
      SELECT current_workspace(), $1, $2, $3, f.former,
        CASE WHEN $2 = 'workspace' THEN (SELECT l.amount FROM limits l WHERE l.workspace_id = current_workspace() AND l.meter = $1 AND l.level = $2 AND l.scope_id = $3 ORDER BY l.version DESC LIMIT 1) ELSE f.former END,
        $4::timestamptz FROM (SELECT ${FORMER} AS former) f
      ON CONFLICT (workspace_id, meter, level, scope_id) DO UPDATE SET ends_at = excluded.ends_at`,
    // In UTC: the format allows zones that Postgres does not know.
    values: [meter, level, scopeId, new Date(until).toISOString()],
  });
}

/** The limits of the workspace that end by themselves, by `limitKey`. */
export async function readTemporaryLimits(tx: WorkspaceTx): Promise<TemporaryLimits> {
  const rows = await tx.query<{
    level: LimitLevel;
    scope_id: string;
    meter: LimitMeter;
    former: number | null;
    ends_at: Date;
  }>({
    name: "temporary_limits",
    text: "SELECT level, scope_id, meter, former_limit AS former, ends_at FROM temporary_limits WHERE workspace_id = current_workspace()",
    values: [],
  });
  return new Map(
    rows.map((row) => [limitKey(row), { ends_at: row.ends_at.toISOString(), former: row.former }]),
  );
}

/** Lets the limits whose exception is over be what they were before. -> how many */
export async function endTemporaryLimits(db: Db): Promise<number> {
  const [row] = await db.ledger<{ ended: number }>({
    name: "end_temporary_limits",
    text: "SELECT end_temporary_limits() AS ended",
    values: [],
  });
  return row?.ended ?? 0;
}

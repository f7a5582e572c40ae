import type { LimitLevel } from "@guildhall/sdk/contract/limit.ts";
import type { Parked } from "@guildhall/sdk/contract/task.ts";
import { periodResetsAt } from "../../gateway/budget/budget-refusal.ts";
import type { Db, WorkspaceTx } from "../../platform/db.ts";
import { storableJson } from "../../platform/storable-json.ts";
import type { ParkReason } from "../../runtimes/park-reason.ts";
import { operatorOnly, raisersOf } from "../raisers.ts";
import type { Claim } from "./run-claims.ts";

const NAME_OF: Readonly<Partial<Record<LimitLevel, string>>> = {
  task: "SELECT title AS name FROM tasks WHERE workspace_id = current_workspace() AND id = $1",
  agent: "SELECT name FROM agents WHERE workspace_id = current_workspace() AND id = $1",
  key: "SELECT name FROM api_keys WHERE workspace_id = current_workspace() AND id = $1",
  workspace: "SELECT name FROM workspaces WHERE workspace_id = $1",
};

/** What people call the thing that a limit is about; null above the workspace. */
async function scopeName(
  tx: WorkspaceTx,
  level: LimitLevel,
  scopeId: string,
): Promise<string | null> {
  const text = NAME_OF[level];
  if (text === undefined) return null;
  const [row] = await tx.query<{ name: string }>({ text, values: [scopeId] });
  return row?.name ?? null;
}

/** Adds what the workspace knows: names, what is left, when the period turns, and who may raise the limit. */
async function describe(tx: WorkspaceTx, reason: ParkReason): Promise<Parked> {
  switch (reason.kind) {
    case "question":
    case "child":
      return reason;
    case "unpriced":
    case "suspended":
      return { ...reason, raised_by: [...operatorOnly] };
    case "limit": {
      const { level, scope_id: scopeId, limit, posted, held, period } = reason;
      const shared = level === "owner" || level === "platform";
      return {
        ...reason,
        scope_name: await scopeName(tx, level, scopeId),
        // What the ledger tells of a shared level is the part that this workspace was handed: no limit of anybody's.
        limit: shared ? null : limit,
        left: shared ? null : Math.max(0, limit - posted - held),
        resets_at: periodResetsAt(period) ?? null,
        raised_by: raisersOf(level),
      };
    }
  }
}

/** Parks the run. -> false when the attempt is stale, and then nothing was written */
export function parkRun(
  db: Db,
  claim: Claim,
  park: { state: "waiting" | "paused"; reason: ParkReason },
): Promise<boolean> {
  return db.withWorkspace(claim.workspaceId, async (tx) => {
    const reason = await describe(tx, park.reason);
    const [row] = await tx.query<{ parked: boolean }>({
      text: "SELECT park_run($1, $2, $3, $4, $5, $6) AS parked",
      values: [
        claim.runId,
        claim.epoch,
        park.state,
        storableJson(reason),
        reason.kind === "limit" ? reason.resets_at : null,
        `task.${park.state}`,
      ],
    });
    return row?.parked ?? false;
  });
}

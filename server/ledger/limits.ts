import type { WorkspaceTx } from "../platform/db.ts";
import { invariant } from "../platform/errors.ts";

/** A limit of a workspace. amount: nano-USD, milliseconds or a count, by meter; null is no limit. */
export type LimitChange = {
  meter: "model_cost" | "agent_time" | "concurrent_tasks" | "api_requests" | "members";
  level: "task" | "agent" | "key" | "workspace";
  /** The task, agent or workspace. Whether it exists is for the caller to check. */
  scopeId: string;
  amount: number | null;
  /** Whom the change is attributed to, for example `user:usr_...`. */
  actor: string;
};

/**
 * Writes the next version of a limit, in force from the next admission on. What is held and spent already stays, also
 * when it is more than the new limit. -> the version
 */
export async function setLimit(tx: WorkspaceTx, change: LimitChange): Promise<number> {
  const [row] = await tx.query<{ version: number }>({
    text: "SELECT set_limit($1, $2, $3, $4, $5) AS version",
    values: [change.meter, change.level, change.scopeId, change.amount, change.actor],
  });
  invariant(row, "set_limit answers the version");
  return row.version;
}

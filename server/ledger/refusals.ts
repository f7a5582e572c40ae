import type { Db } from "../platform/db.ts";
import type { ReserveRequest } from "./calls.ts";
import type { Refusal } from "./kernel-state.ts";

/** A model call that was refused for its budget, for the check that no cap refuses while money is left (I10). */
export type RefusedCall = {
  request: ReserveRequest;
  refusal: Refusal;
  /** How long the call had waited for open holds, and how long it was to wait at most. */
  waitedMs: number;
  waitMs: number;
};

/** Records what a refused call was told, and what its balance says now. */
export async function recordRefusal(db: Db, call: RefusedCall): Promise<void> {
  const { request, refusal } = call;
  const item = {
    workspace_id: request.spender.workspaceId,
    model: request.model,
    status: refusal.status,
    level: refusal.level,
    scope_id: refusal.scopeId,
    period: refusal.period,
    limit: refusal.limit,
    posted: refusal.posted,
    held: refusal.held,
    needed: refusal.needed,
    input_nano_usd: request.inputNanoUsd,
    output_nano_usd_per_token: request.outputNanoUsdPerToken,
    max_tokens: request.maxTokens,
    min_tokens: request.minTokens,
    waited_ms: Math.ceil(call.waitedMs),
    wait_ms: call.waitMs,
  };
  await db.ledger({
    name: "ledger_record_refusal",
    text: "SELECT record_refusal($1::jsonb)",
    values: [JSON.stringify(item)],
  });
}

const BATCH = 5_000;
const BATCHES_PER_ROUND = 20;

/** Forgets refusals that are older than a week, in bounded parts. -> how many */
export async function forgetOldRefusals(db: Db): Promise<number> {
  let forgotten = 0;
  for (let batch = 0; batch < BATCHES_PER_ROUND; batch++) {
    const rows = await db.withPlatform((tx) =>
      tx.query({
        text: `DELETE FROM refusals r USING (
            SELECT o.workspace_id, o.id FROM refusals o WHERE o.at < clock_now() - interval '7 days' ORDER BY o.at LIMIT $1
          ) old
          WHERE r.workspace_id = old.workspace_id AND r.id = old.id RETURNING true AS gone`,
        values: [BATCH],
      }),
    );
    forgotten += rows.length;
    if (rows.length < BATCH) break;
  }
  return forgotten;
}

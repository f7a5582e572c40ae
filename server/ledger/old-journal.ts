import type { Db } from "../platform/db.ts";
import { untilFewer } from "../platform/until-fewer.ts";

/** One transaction's worth: answers can be megabytes each. */
const BATCH = 500;
const BATCHES_PER_ROUND = 1_000;

function forgetBatch(db: Db): Promise<number> {
  return db.withPlatform(async (tx) => {
    // An answer is older than the end of its run, and by its own age it is found without reading all of them.
    const rows = await tx.query({
      text: `DELETE FROM journal j USING (
          SELECT o.workspace_id, o.run_id, o.request_hash, o.use_no FROM journal o
            JOIN runs r ON r.workspace_id = o.workspace_id AND r.id = o.run_id
            WHERE o.created_at < clock_now() - interval '3 days' AND r.ended_at < clock_now() - interval '3 days' LIMIT $1
        ) old
        WHERE j.workspace_id = old.workspace_id AND j.run_id = old.run_id AND j.request_hash = old.request_hash
          AND j.use_no = old.use_no
        RETURNING true AS gone`,
      values: [BATCH],
    });
    return rows.length;
  });
}

/**
 * Forgets the stored answers of runs that ended more than three days ago: nothing repeats their calls any more. At most
 * 500,000 a round, the rest is for the next one. -> how many
 */
export function forgetOldJournal(db: Db): Promise<number> {
  return untilFewer({ atMost: BATCH, times: BATCHES_PER_ROUND }, () => forgetBatch(db));
}

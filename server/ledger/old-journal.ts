import type { Db } from "../platform/db.ts";

/** One transaction's worth: answers can be megabytes each. */
const BATCH = 500;
const BATCHES_PER_ROUND = 20;

/**
 * Forgets the stored answers of runs that ended more than three days ago: nothing repeats their calls any more. At most
 * 10,000 a round, so that a backlog does not keep the database busy; the rest is for the next one. -> how many
 */
export async function forgetOldJournal(db: Db): Promise<number> {
  let forgotten = 0;
  for (let batch = 0; batch < BATCHES_PER_ROUND; batch++) {
    const rows = await db.withPlatform((tx) =>
      tx.query({
        text: `DELETE FROM journal j USING (
            SELECT o.workspace_id, o.run_id, o.request_hash, o.use_no FROM journal o
              JOIN runs r ON r.workspace_id = o.workspace_id AND r.id = o.run_id
              WHERE r.ended_at < clock_now() - interval '3 days' LIMIT $1
          ) old
          WHERE j.workspace_id = old.workspace_id AND j.run_id = old.run_id AND j.request_hash = old.request_hash
            AND j.use_no = old.use_no
          RETURNING true AS gone`,
        values: [BATCH],
      }),
    );
    forgotten += rows.length;
    if (rows.length < BATCH) break;
  }
  return forgotten;
}

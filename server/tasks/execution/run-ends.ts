import { CONNECTION_WAIT_MS, type Db } from "../../platform/db.ts";
import { createGroupCommit } from "../../platform/group-commit.ts";
import { storableJson } from "../../platform/storable-json.ts";
import { finishRun, type Claim, type TaskEnd } from "./run-claims.ts";

/** Ends runs of one worker. */
export type RunEnds = {
  /** Ends the task of the run. -> false when the attempt is stale, and then nothing was written */
  finish(claim: Claim, end: TaskEnd): Promise<boolean>;
};

/** What one transaction takes: enough to share an fsync, few enough that nobody waits long for the others. */
const MAX_ITEMS = 64;
/** While one waits for its fsync, another one computes. */
const MAX_TRANSACTIONS = 2;

type Ask = { claim: Claim; end: TaskEnd };
type Answer = "ended" | "stale" | "family";

async function finishRuns(db: Db, asks: readonly Ask[]): Promise<Answer[]> {
  const ends = asks.map(({ claim, end: { state, ...data } }) => ({
    workspace_id: claim.workspaceId,
    run_id: claim.runId,
    epoch: claim.epoch,
    state,
    data,
  }));
  const rows = await db.ledger<{ answer: Answer }>({
    name: "finish_runs",
    text: "SELECT answer FROM finish_runs($1) ORDER BY place",
    values: [storableJson(ends)],
  });
  return rows.map((row) => row.answer);
}

/**
 * Runs that end at the same time end in one transaction. Those with a parent or with children that have not ended go by
 * themselves, for their end is that of others, too.
 */
export function createRunEnds(db: Db): RunEnds {
  const group = createGroupCommit<Ask, Answer>({
    maxItems: MAX_ITEMS,
    maxTransactions: MAX_TRANSACTIONS,
    maxWaitMs: CONNECTION_WAIT_MS,
    commit: (items) =>
      finishRuns(
        db,
        items.map((item) => item.ask),
      ),
  });
  return {
    async finish(claim, end) {
      if (claim.hasParent !== false) return finishRun(db, claim, end);
      // No two runs change the same rows.
      const { runId } = claim;
      const answer = await group.submit({ account: runId, id: runId, ask: { claim, end } });
      return answer === "family" ? finishRun(db, claim, end) : answer === "ended";
    },
  };
}

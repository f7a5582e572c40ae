import { CONNECTION_WAIT_MS, type Db } from "../../platform/db.ts";
import { createGroupCommit } from "../../platform/group-commit.ts";
import { storableJson } from "../../platform/storable-json.ts";
import { finishRun, type Claim, type TaskEnd } from "./run-claims.ts";

/** Agent time that an attempt has booked and not used. */
export type UnusedTime = {
  ms: number;
  /** Gives it back by itself, once however often it is called. Never rejects. */
  giveBack(): Promise<void>;
};

/** `ended` is false when the attempt is stale, and then nothing was written. `waited`: another run may want its slot. */
export type RunEnd = { ended: boolean; waited: boolean };

/** Ends runs of one worker. */
export type RunEnds = {
  /** Ends the task of the run, and gives back the agent time that it did not use, where it can in the same transaction. */
  finish(claim: Claim, end: TaskEnd, unused: UnusedTime): Promise<RunEnd>;
};

/** What one transaction takes: enough to share an fsync, few enough that nobody waits long for the others. */
const MAX_ITEMS = 64;
/** While one waits for its fsync, another one computes. */
const MAX_TRANSACTIONS = 2;

type Ask = { claim: Claim; end: TaskEnd; unusedMs: number };
type Answer = { answer: "ended" | "stale" | "family"; waited: boolean };

async function finishRuns(db: Db, asks: readonly Ask[]): Promise<Answer[]> {
  const ends = asks.map(({ claim, end: { state, ...data }, unusedMs }) => ({
    workspace_id: claim.workspaceId,
    run_id: claim.runId,
    epoch: claim.epoch,
    state,
    data,
    unused_ms: unusedMs,
  }));
  return db.ledger<Answer>({
    name: "finish_runs",
    text: "SELECT answer, waited FROM finish_runs($1) ORDER BY place",
    values: [storableJson(ends)],
  });
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
    async finish(claim, end, unused) {
      if (claim.hasParent === false) {
        // No two runs change the same rows of their own.
        const { runId } = claim;
        const ask = { claim, end, unusedMs: unused.ms };
        const { answer, waited } = await group.submit({ account: runId, id: runId, ask });
        if (answer !== "family") return { ended: answer === "ended", waited };
      }
      await unused.giveBack();
      return { ended: await finishRun(db, claim, end), waited: true };
    },
  };
}

import { spenderOf } from "../../server/ledger/fixture.ts";
import { createLedger } from "../../server/ledger/ledger.ts";
import { newId } from "../../server/platform/ids.ts";
import type { ClaimedRun } from "../../server/test/tenant.ts";
import type { BenchDatabase } from "../database.ts";

/** A hold of the bench: 100 nano-USD of input and 10 output tokens at 10 nano-USD, never clamped. */
export const HOLD_NANO_USD = 200;

export type HeldCall = { run: ClaimedRun; holdId: string };

/** The bench's one way into the ledger: the product's own door, as the gateway uses it. */
export type LedgerDoor = {
  /** Holds the worst case of one call, durable and marked as sent. Undefined: refused for want of money. */
  hold(run: ClaimedRun): Promise<HeldCall | undefined>;
  /** Ends a hold at half of what was held, so that half of the money returns. */
  settle(call: HeldCall): Promise<void>;
};

export async function openLedgerDoor(database: BenchDatabase): Promise<LedgerDoor> {
  const ledger = createLedger({ db: database.openDb(), processId: newId("wrk") });
  await ledger.processSeen("gateway");
  return {
    async hold(run) {
      const holdId = newId("hold");
      const answer = await ledger.reserve({
        spender: spenderOf(run),
        holdId,
        attemptNo: 1,
        model: "claude-sonnet-4-5",
        priceVersion: "bench",
        inputNanoUsd: 100,
        outputNanoUsdPerToken: 10,
        maxTokens: 10,
        minTokens: 10,
        dispatch: true,
      });
      if (answer.status === "held") return { run, holdId };
      if (answer.status === "reserved" || answer.status === "exhausted") return undefined;
      throw new Error(`the ledger answered ${answer.status}`);
    },
    async settle({ run, holdId }) {
      const answer = await ledger.settle({
        workspaceId: run.workspaceId,
        holdId,
        outcome: "settled",
        actualNanoUsd: HOLD_NANO_USD / 2,
        usage: { input_tokens: 10, output_tokens: 5 },
      });
      if (answer.status !== "done") throw new Error(`the settlement was ${answer.status}`);
    },
  };
}

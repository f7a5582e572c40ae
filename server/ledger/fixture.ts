import { newId } from "../platform/ids.ts";
import type { ClaimedRun } from "../test/tenant.ts";
import type { ReserveRequest, RunSpender } from "./calls.ts";

/** The run's attempt as the ledger is told of it. */
export function spenderOf(run: ClaimedRun): RunSpender {
  const { workspaceId, runId, epoch, tokenHash } = run;
  return { kind: "run", workspaceId, runId, epoch, tokenHash };
}

/** A request of 100 nano-USD of input and 10 output tokens at 10 nano-USD: 200 in all, 110 at the least. */
export function request(run: ClaimedRun, changes: Partial<ReserveRequest> = {}): ReserveRequest {
  return {
    spender: spenderOf(run),
    holdId: newId("hold"),
    attemptNo: 1,
    model: "model-x",
    priceVersion: "p1",
    inputNanoUsd: 100,
    outputNanoUsdPerToken: 10,
    maxTokens: 10,
    minTokens: 1,
    dispatch: true,
    ...changes,
  };
}

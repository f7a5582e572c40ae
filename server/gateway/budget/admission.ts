import type { ReserveOutcome, ReserveRequest, Spender } from "../../ledger/calls.ts";
import type { Ledger } from "../../ledger/ledger.ts";
import { AppError } from "../../platform/errors.ts";
import { newId } from "../../platform/ids.ts";
import { describeBudgetRefusal, describeCallLimit, describeSuspension } from "./budget-refusal.ts";
import type { BudgetQueue } from "./budget-queue.ts";
import type { CallCounts } from "../call-counts.ts";
import type { Hold } from "./charges.ts";
import { apiKeyRefused, budgetRefused, databaseUnavailable, runNotActive } from "../errors.ts";
import { leastTokens, type MessagesRequest } from "../request/request.ts";
import type { RefusalLog } from "./refusal-log.ts";
import type { RunMemory } from "./run-memory.ts";
import type { Settlements } from "./settlements.ts";
import { spenderId } from "../spender.ts";
import { worstCase } from "../request/worst-case.ts";

export type AdmissionOutcome =
  | { status: "held"; hold: Hold }
  | { status: "refused"; error: AppError };

export type AdmissionRequest = {
  spender: Spender;
  request: MessagesRequest;
  /** What exact mode holds for the input, where that is less than the bound. */
  exactTokens: number | undefined;
  /** Undefined for the first attempt of a call: the ledger gives the number. */
  callNo: number | undefined;
  attemptNo: number;
  /** Aborted when the caller has no use for a hold any more. */
  gone(): AbortSignal;
};

export type Admit = (request: AdmissionRequest) => Promise<AdmissionOutcome>;

export type AdmissionDeps = {
  ledger: Pick<Ledger, "reserve">;
  queue: BudgetQueue;
  settlements: Settlements;
  memory: RunMemory;
  counts: CallCounts;
  refusals: RefusalLog;
  budgetWaitMs: number;
};

/** More unsettled holds than this mean that the database is away for long: no further call is started. */
const MAX_PENDING_SETTLEMENTS = 1_000;

function refusalOf(
  outcome: Exclude<ReserveOutcome, { status: "held" }>,
  spender: Spender,
): AppError {
  switch (outcome.status) {
    case "stale":
      return spender.kind === "run" ? runNotActive() : apiKeyRefused();
    case "suspended":
      return budgetRefused(describeSuspension(outcome.reason));
    case "call_limit":
      return budgetRefused(describeCallLimit(outcome.limit));
    case "reserved":
    case "exhausted":
      return budgetRefused(describeBudgetRefusal(outcome));
  }
}

/** Holds the worst case of one upstream attempt, marked as dispatched in the same transaction, or says why not. */
export function createAdmission(deps: AdmissionDeps): Admit {
  return async function admit({ spender, request, exactTokens, callNo, attemptNo, gone }) {
    if (deps.settlements.pending() > MAX_PENDING_SETTLEMENTS)
      return {
        status: "refused",
        error: databaseUnavailable("Charges wait for the database."),
      };
    const { workspaceId } = spender;
    const holdId = newId("hold");
    const { largestTtl } = request;
    const startedMs = performance.now();
    let asked: ReserveRequest | undefined;
    let boundTokens = 0;
    const reserve = async (): Promise<ReserveOutcome> => {
      // Looked up anew for each try: while it waited, an answer may have made the bound tighter.
      boundTokens = deps.memory.bound(spenderId(spender), request);
      const tokens = Math.min(boundTokens, exactTokens ?? boundTokens);
      const worst = worstCase(request.price, { tokens, largestTtl });
      asked = {
        spender,
        holdId,
        ...(callNo === undefined ? {} : { callNo }),
        attemptNo,
        model: request.price.id,
        priceVersion: request.price.version,
        ...worst,
        maxTokens: request.body.max_tokens,
        minTokens: leastTokens(request.body),
        dispatch: true,
      };
      return deps.ledger.reserve(asked);
    };
    const outcome = await deps.queue
      .admit({ workspaceId, reserve, waitMs: deps.budgetWaitMs, gone })
      .catch((error: unknown) => {
        throw error instanceof AppError
          ? error
          : databaseUnavailable("The budget could not be asked.", error);
      });
    deps.counts.admissions[outcome.status] += 1;
    if (
      (outcome.status === "reserved" || outcome.status === "exhausted") &&
      asked &&
      !gone().aborted
    )
      await deps.refusals.note({
        request: asked,
        refusal: outcome,
        waitedMs: performance.now() - startedMs,
        waitMs: deps.budgetWaitMs,
      });
    if (outcome.status !== "held") return { status: "refused", error: refusalOf(outcome, spender) };
    const bound = worstCase(request.price, { tokens: boundTokens, largestTtl });
    return {
      status: "held",
      hold: {
        id: holdId,
        workspaceId,
        spender,
        callNo: outcome.callNo,
        amountNanoUsd: outcome.amountNanoUsd,
        maxTokens: outcome.maxTokens,
        boundNanoUsd: bound.inputNanoUsd + bound.outputNanoUsdPerToken * outcome.maxTokens,
      },
    };
  };
}

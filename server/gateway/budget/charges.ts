import type { Settlement, Spender } from "../../ledger/calls.ts";
import { faultPoint } from "../../platform/fault-points.ts";
import type { Logger } from "../../platform/log.ts";
import type { AnswerVerdict } from "../answer/answer-verdict.ts";
import type { CallCounts } from "../call-counts.ts";
import type { BudgetQueue } from "./budget-queue.ts";
import type { JournalCipher, StoredAnswer } from "./journal.ts";
import { MAX_SEALED_BYTES } from "./journal.ts";
import type { ModelFreeze } from "./model-freeze.ts";
import type { MessagesRequest } from "../request/request.ts";
import type { RunMemory } from "./run-memory.ts";
import { spenderId } from "../spender.ts";
import type { Settlements } from "./settlements.ts";

/** One upstream attempt that money is held for. */
export type Hold = {
  id: string;
  workspaceId: string;
  spender: Spender;
  /** Null for a call by API key. */
  callNo: number | null;
  amountNanoUsd: number;
  maxTokens: number;
  /** What the call can cost at most by its bytes: more than is held in exact mode, else the same. */
  boundNanoUsd: number;
};

/** `durable`: the charge is in the database. `late`: it is not yet; the gateway goes on trying. */
export type Durability = "durable" | "late";

export type Charges = {
  /** The provider did not see the request, or refused it without billing. */
  nothing(hold: Hold): Promise<Durability>;
  /** What came back decides: a clean end is charged by its usage and kept, anything else stays at what was held. */
  answer(hold: Hold, outcome: Outcome): Promise<Durability>;
  /** The request left and nothing usable came back: charged in full until the provider's report says otherwise. */
  unknown(hold: Hold, reason: string): Promise<Durability>;
};

export type Outcome = {
  request: MessagesRequest;
  verdict: AnswerVerdict;
  usageRecord: Record<string, unknown>;
  thinkingMarks: readonly string[];
  /** The whole answer, when it is small enough to be kept. */
  stored: StoredAnswer | undefined;
};

export type ChargesDeps = {
  settlements: Settlements;
  queue: BudgetQueue;
  freeze: ModelFreeze;
  memory: RunMemory;
  cipher: JournalCipher;
  counts: CallCounts;
  log: Logger;
  /** How long an answer may wait for its charge to become durable. */
  settleWaitMs: number;
};

/** Settles, and draws the consequences: others may use what is returned, and a charge above its hold is an alarm. */
async function settleFully(
  deps: ChargesDeps,
  input: { hold: Hold; settlement: Settlement; request: MessagesRequest | undefined },
): Promise<Durability> {
  const { hold, settlement, request } = input;
  faultPoint("gateway.answered");
  const result = await deps.settlements.settle(settlement);
  faultPoint("gateway.settled");
  if (result === undefined) return "late";
  if (result.status === "unchanged") return "durable";
  deps.queue.returned(hold.workspaceId);
  deps.counts.overrunNanoUsd += result.overrunNanoUsd;
  if (result.overrunNanoUsd > 0) {
    deps.log.error(
      {
        hold_id: hold.id,
        workspace_id: hold.workspaceId,
        overrun_nano_usd: result.overrunNanoUsd,
      },
      "the provider charged more than was held; the platform bears the excess",
    );
    // In exact mode the platform has agreed to bear what the count missed; only a broken bound stops the model.
    if (request !== undefined && result.postedNanoUsd + result.overrunNanoUsd > hold.boundNanoUsd)
      deps.freeze.freeze(request, { holdId: hold.id, overrunNanoUsd: result.overrunNanoUsd });
  }
  return "durable";
}

/** Turns the ends of attempts into settlements. */
export function createCharges(deps: ChargesDeps): Charges {
  function settle(
    hold: Hold,
    settlement: Settlement,
    request?: MessagesRequest,
  ): Promise<Durability> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<Durability>((resolve) => {
      timer = setTimeout(() => resolve("late"), deps.settleWaitMs);
    });
    const settled = settleFully(deps, { hold, settlement, request });
    return Promise.race([settled, patience]).finally(() => clearTimeout(timer));
  }

  function provisional(
    hold: Hold,
    detail: { reason: string; usage?: Record<string, unknown> },
  ): Promise<Durability> {
    deps.counts.attempts.unknown += 1;
    deps.log.warn(
      { hold_id: hold.id, workspace_id: hold.workspaceId, reason: detail.reason },
      "the outcome of a model call is not known; charged in full until it is",
    );
    return settle(hold, {
      workspaceId: hold.workspaceId,
      holdId: hold.id,
      outcome: "provisional",
      usage: { ...detail.usage, unknown: detail.reason.slice(0, 500) },
    });
  }

  function journalOf(hold: Hold, outcome: Outcome): Pick<Settlement, "journal"> {
    const { stored, request } = outcome;
    const { spender } = hold;
    // Only a run can be repeated: it asks the same again when its worker has died.
    if (stored === undefined || spender.kind !== "run") return {};
    const { requestHash } = request;
    const parts = { workspaceId: hold.workspaceId, runId: spender.runId, requestHash };
    const body = deps.cipher.seal(stored, parts);
    return body.length > MAX_SEALED_BYTES ? {} : { journal: { requestHash, body } };
  }

  return {
    nothing(hold) {
      deps.counts.attempts.unbilled += 1;
      return settle(hold, {
        workspaceId: hold.workspaceId,
        holdId: hold.id,
        outcome: "settled",
        actualNanoUsd: 0,
      });
    },
    unknown: (hold, reason) => provisional(hold, { reason }),
    answer(hold, outcome) {
      const { verdict, request } = outcome;
      if (verdict.status === "unknown") {
        deps.memory.noteThinking(outcome.thinkingMarks, hold.maxTokens);
        return provisional(hold, { reason: verdict.reason, usage: outcome.usageRecord });
      }
      deps.counts.attempts.settled += 1;
      const { tokens } = verdict;
      deps.memory.noteThinking(outcome.thinkingMarks, tokens.outputTokens);
      deps.memory.noteCall(spenderId(hold.spender), {
        request,
        inputTokens:
          tokens.inputTokens +
          tokens.cacheReadTokens +
          tokens.cacheWrite5mTokens +
          tokens.cacheWrite1hTokens,
      });
      const settlement: Settlement = {
        workspaceId: hold.workspaceId,
        holdId: hold.id,
        outcome: "settled",
        actualNanoUsd: verdict.costNanoUsd,
        usage: outcome.usageRecord,
        ...journalOf(hold, outcome),
      };
      return settle(hold, settlement, request);
    },
  };
}

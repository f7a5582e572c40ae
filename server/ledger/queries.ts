import type { Statement } from "../platform/db.ts";
import { storableJson } from "../platform/storable-json.ts";
import type {
  AgentTimeRequest,
  Reconciliation,
  ReserveRequest,
  RunFence,
  Settlement,
} from "./calls.ts";

// Each statement calls one reviewed function of migrations/0005_ledger_calls.sql or 0009_reconcile.sql, and is a transaction of its own. `answer`
// is what the function returns.

/** What one transaction shall do. A hold that is settled appears once. */
export type Spending = {
  settlements: readonly Settlement[];
  reservations: readonly ReserveRequest[];
};

function settlementItem(settlement: Settlement): object {
  const { journal } = settlement;
  return {
    workspace_id: settlement.workspaceId,
    hold_id: settlement.holdId,
    outcome: settlement.outcome,
    actual: settlement.actualNanoUsd ?? 0,
    usage: settlement.usage,
    request_hash: journal?.requestHash,
    body_base64: journal?.body.toString("base64"),
  };
}

function holdItem(request: ReserveRequest, ownerId: string): object {
  return {
    workspace_id: request.spender.workspaceId,
    hold_id: request.holdId,
    call_no: request.callNo,
    attempt_no: request.attemptNo,
    owner_id: ownerId,
    model: request.model,
    price_version: request.priceVersion,
    input_cost: request.inputNanoUsd,
    token_price: request.outputNanoUsdPerToken,
    max_tokens: request.maxTokens,
    min_tokens: request.minTokens,
    dispatch: request.dispatch,
  };
}

/** Each of these is NULL where there is nothing of its kind, so that the database does not look. */
export function commitSpending(spending: Spending, ownerId: string): Statement {
  const { settlements, reservations } = spending;
  const byRuns: object[] = [];
  const byKeys: object[] = [];
  for (const request of reservations) {
    const { spender } = request;
    const item = holdItem(request, ownerId);
    if (spender.kind === "run") {
      const { runId, epoch, tokenHash } = spender;
      byRuns.push({ ...item, run_id: runId, epoch, token_hash: tokenHash });
    } else byKeys.push({ ...item, api_key_id: spender.apiKeyId, secret_hash: spender.secretHash });
  }
  return {
    name: "ledger_commit_spending",
    text: "SELECT hold_id, status, call_no, amount, max_tokens, overrun, detail FROM commit_spending($1, $2, $3)",
    values: [
      // The usage has words of the provider in it. A character that jsonb refuses must not keep the hold open.
      settlements.length === 0 ? null : storableJson(settlements.map(settlementItem)),
      byRuns.length === 0 ? null : JSON.stringify(byRuns),
      byKeys.length === 0 ? null : JSON.stringify(byKeys),
    ],
  };
}

export function markDispatched(hold: {
  workspaceId: string;
  holdId: string;
  ownerId: string;
}): Statement {
  return {
    name: "ledger_mark_dispatched",
    text: "SELECT mark_dispatched($1, $2, $3) AS answer",
    values: [hold.workspaceId, hold.holdId, hold.ownerId],
  };
}

export function runActive(call: RunFence & { tokenHash: string }): Statement {
  return {
    name: "ledger_run_active",
    text: "SELECT run_active($1, $2, $3, $4) AS answer",
    values: [call.workspaceId, call.runId, call.epoch, call.tokenHash],
  };
}

export function takeJournal(
  call: RunFence & { tokenHash: string; requestHash: string },
): Statement {
  return {
    name: "ledger_take_journal",
    text: "SELECT hold_id, body FROM take_journal($1, $2, $3, $4, $5)",
    values: [call.workspaceId, call.runId, call.epoch, call.tokenHash, call.requestHash],
  };
}

export function markUndelivered(
  call: RunFence & { requestHash: string; holdId: string },
): Statement {
  return {
    name: "ledger_mark_undelivered",
    text: "SELECT mark_undelivered($1, $2, $3, $4, $5)",
    values: [call.workspaceId, call.runId, call.epoch, call.requestHash, call.holdId],
  };
}

export function openCallsElsewhere(
  call: RunFence & { tokenHash: string; processId: string; model: string; maxTokens: number },
): Statement {
  const { workspaceId, runId, epoch, tokenHash, processId, model, maxTokens } = call;
  return {
    name: "ledger_open_calls_elsewhere",
    text: "SELECT hold_id, same_attempt FROM open_calls_elsewhere($1, $2, $3, $4, $5, $6, $7)",
    values: [workspaceId, runId, epoch, tokenHash, processId, model, maxTokens],
  };
}

export function takeMissed(
  call: RunFence & { tokenHash: string; requestHash: string; holdIds: readonly string[] },
): Statement {
  const { workspaceId, runId, epoch, tokenHash, requestHash, holdIds } = call;
  return {
    name: "ledger_take_missed",
    text: "SELECT hold_id, body FROM take_missed($1, $2, $3, $4, $5, $6)",
    values: [workspaceId, runId, epoch, tokenHash, requestHash, [...holdIds]],
  };
}

/** A booking or a return; each run at most once. */
export function commitAgentTime(
  asks: readonly (AgentTimeRequest | (RunFence & { unusedMs: number }))[],
): Statement {
  const items = asks.map((ask) => ({
    workspace_id: ask.workspaceId,
    run_id: ask.runId,
    epoch: ask.epoch,
    ...("unusedMs" in ask
      ? { unused_ms: ask.unusedMs }
      : { booking_no: ask.bookingNo, slice_ms: ask.sliceMs }),
  }));
  return {
    name: "ledger_commit_agent_time",
    text: "SELECT answer FROM commit_agent_time($1) ORDER BY place",
    values: [JSON.stringify(items)],
  };
}

export function processSeen(process: { processId: string; role: string }): Statement {
  return {
    name: "ledger_process_seen",
    text: "SELECT process_seen($1, $2) AS answer",
    values: [process.processId, process.role],
  };
}

export function processEnded(processId: string): Statement {
  return {
    name: "ledger_process_ended",
    text: "SELECT process_ended($1) AS answer",
    values: [processId],
  };
}

export function reconcile(ask: Reconciliation): Statement {
  const { workspaceId, holdId, chargedNanoUsd, proof } = ask;
  return {
    name: "ledger_reconcile",
    text: "SELECT reconcile_hold($1, $2, $3, $4) AS answer",
    values: [
      workspaceId,
      holdId,
      chargedNanoUsd,
      proof.kind === "report" ? new Date(proof.finalBeforeMs) : null,
    ],
  };
}

export function reapHolds(rule: {
  deadAfterMs: number;
  heldForMs: number;
  atMost: number;
}): Statement {
  return {
    name: "ledger_reap_holds",
    text: `SELECT voided, provisional FROM reap_holds($1 * interval '1 millisecond', $2 * interval '1 millisecond', $3)`,
    values: [rule.deadAfterMs, rule.heldForMs, rule.atMost],
  };
}

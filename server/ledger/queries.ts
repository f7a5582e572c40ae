import type { Statement } from "../platform/db.ts";
import { storableJson } from "../platform/storable-json.ts";
import type { AgentTimeRequest, ReserveRequest, RunFence, Settlement } from "./calls.ts";

// Each statement calls one reviewed function of migrations/0005_ledger_calls.sql, which locks the levels from leaf to root
// and is a transaction of its own. `answer` is what the function returns.

export function reserve(request: ReserveRequest, ownerId: string): Statement {
  const item = {
    workspace_id: request.workspaceId,
    run_id: request.runId,
    epoch: request.epoch,
    token_hash: request.tokenHash,
    hold_id: request.holdId,
    ...(request.callNo === undefined ? {} : { call_no: request.callNo }),
    attempt_no: request.attemptNo,
    owner_id: ownerId,
    model: request.model,
    price_version: request.priceVersion,
    input_nano_usd: request.inputNanoUsd,
    output_nano_usd_per_token: request.outputNanoUsdPerToken,
    max_tokens: request.maxTokens,
    min_tokens: request.minTokens,
    dispatch: request.dispatch,
  };
  return {
    name: "ledger_reserve",
    text: "SELECT reserve($1::jsonb) AS answer",
    values: [JSON.stringify(item)],
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

export function settle(settlement: Settlement): Statement {
  const item = {
    workspace_id: settlement.workspaceId,
    hold_id: settlement.holdId,
    outcome: settlement.outcome,
    ...(settlement.actualNanoUsd === undefined
      ? {}
      : { actual_nano_usd: settlement.actualNanoUsd }),
    ...(settlement.usage === undefined ? {} : { usage: settlement.usage }),
    ...(settlement.journal === undefined
      ? {}
      : {
          journal: {
            request_hash: settlement.journal.requestHash,
            body_base64: settlement.journal.body.toString("base64"),
          },
        }),
  };
  return {
    name: "ledger_settle",
    text: "SELECT settle($1::jsonb) AS answer",
    // The usage has words of the provider in it. A character that jsonb refuses must not keep the hold open.
    values: [storableJson(item)],
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

export function leaseAgentTime(request: AgentTimeRequest): Statement {
  return {
    name: "ledger_lease_agent_time",
    text: "SELECT lease_agent_time($1, $2, $3, $4, $5) AS answer",
    values: [request.workspaceId, request.runId, request.epoch, request.bookingNo, request.sliceMs],
  };
}

export function returnAgentTime(request: RunFence & { unusedMs: number }): Statement {
  return {
    name: "ledger_return_agent_time",
    text: "SELECT return_agent_time($1, $2, $3, $4) AS answer",
    values: [request.workspaceId, request.runId, request.epoch, request.unusedMs],
  };
}

export function processSeen(process: { processId: string; role: string }): Statement {
  return {
    name: "ledger_process_seen",
    text: "SELECT process_seen($1, $2) AS answer",
    values: [process.processId, process.role],
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

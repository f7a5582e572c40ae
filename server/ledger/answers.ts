import { z } from "zod";
import { invariant } from "../platform/errors.ts";
import type { AgentTimeOutcome, ReconcileOutcome, ReserveOutcome, SettleOutcome } from "./calls.ts";
import { holdStates, levelNames, type Refusal } from "./kernel-state.ts";

// The edge between the database's answers and the program: checked, and named the TypeScript way. What each call is
// answered with is checked by hand, for it is read thousands of times a second; the rest by schemas.

/** One answer of `commit_spending`. int8 arrives as a number (platform/db.ts). */
export type SpendingRow = {
  hold_id: string;
  status: string;
  call_no: number | null;
  amount: number | null;
  max_tokens: number | null;
  overrun: number | null;
  detail: unknown;
};

const refusalShape = {
  level: z.enum(levelNames),
  scope_id: z.string(),
  period: z.string(),
  limit: z.int(),
  posted: z.int(),
  held: z.int(),
  needed: z.int(),
};
const refusal = z.object(refusalShape);

function readRefusal(status: Refusal["status"], detail: unknown): Refusal {
  const { scope_id: scopeId, ...rest } = refusal.parse(detail);
  return { status, ...rest, scopeId };
}

/** What became of a reservation; without a row nobody asked who may. */
export function readReserve(row: SpendingRow | undefined): ReserveOutcome {
  if (row === undefined) return { status: "stale" };
  const { status, detail } = row;
  switch (status) {
    case "held": {
      const { amount, max_tokens: maxTokens, call_no: callNo } = row;
      invariant(amount !== null && maxTokens !== null, "a hold has an amount");
      return { status, callNo, amountNanoUsd: amount, maxTokens };
    }
    case "stale":
      return { status };
    case "suspended":
      return { status, reason: z.string().parse(detail) };
    case "call_limit":
      return { status, limit: z.int().parse(detail) };
    case "reserved":
    case "exhausted":
      return readRefusal(status, detail);
    default:
      throw new Error(`a reservation was answered ${status}`);
  }
}

/** What became of a settlement; without a row there is no such hold. */
export function readSettle(row: SpendingRow | undefined): SettleOutcome {
  if (row === undefined) return { status: "unchanged", state: null };
  if (row.status === "unchanged")
    return { status: "unchanged", state: z.enum(holdStates).parse(row.detail) };
  const { amount, overrun } = row;
  invariant(
    row.status === "done" && amount !== null && overrun !== null,
    "a settled hold has a charge",
  );
  return { status: "done", postedNanoUsd: amount, overrunNanoUsd: overrun };
}

const reconcileAnswer = z.discriminatedUnion("status", [
  z.object({ status: z.literal("done"), posted: z.int(), overrun: z.int() }),
  z.object({ status: z.literal("unchanged"), state: z.enum(holdStates).nullable() }),
  z.object({ status: z.literal("not_final") }),
]);

/** The answer of `reconcile_hold`. */
export function readReconcile(answer: unknown): ReconcileOutcome {
  const read = reconcileAnswer.parse(answer);
  if (read.status !== "done") return read;
  return { status: "done", postedNanoUsd: read.posted, overrunNanoUsd: read.overrun };
}

const agentTimeAnswer = z.discriminatedUnion("status", [
  z.object({ status: z.literal("granted"), ms: z.int() }),
  z.object({ status: z.literal("stale") }),
  z.object({ status: z.literal("suspended"), reason: z.string() }),
  z.object({ status: z.literal("exhausted"), ...refusalShape }),
]);

/** The answer of `lease_agent_time`. */
export function readAgentTime(answer: unknown): AgentTimeOutcome {
  const read = agentTimeAnswer.parse(answer);
  if (read.status !== "exhausted") return read;
  const { scope_id: scopeId, ...rest } = read;
  return { ...rest, scopeId };
}

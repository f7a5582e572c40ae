import { z } from "zod";
import { holdStates, levelNames } from "./kernel-state.ts";
import type { AgentTimeOutcome, ReserveOutcome, SettleOutcome } from "./calls.ts";

// The edge between the database's answers and the program: parsed, and named the TypeScript way.

const refusal = {
  level: z.enum(levelNames),
  scope_id: z.string(),
  period: z.string(),
  limit: z.int(),
  posted: z.int(),
  held: z.int(),
  needed: z.int(),
};

const reserveAnswer = z.discriminatedUnion("status", [
  z.object({
    status: z.literal("held"),
    call_no: z.int(),
    amount: z.int(),
    max_tokens: z.int(),
    task_id: z.string(),
  }),
  z.object({ status: z.literal("stale") }),
  z.object({ status: z.literal("call_limit"), limit: z.int() }),
  z.object({ status: z.literal("reserved"), ...refusal }),
  z.object({ status: z.literal("exhausted"), ...refusal }),
]);

/** The answer of `reserve`. */
export function readReserve(answer: unknown): ReserveOutcome {
  const read = reserveAnswer.parse(answer);
  switch (read.status) {
    case "held":
      return {
        status: "held",
        callNo: read.call_no,
        amountNanoUsd: read.amount,
        maxTokens: read.max_tokens,
        taskId: read.task_id,
      };
    case "stale":
    case "call_limit":
      return read;
    case "reserved":
    case "exhausted": {
      const { scope_id: scopeId, ...rest } = read;
      return { ...rest, scopeId };
    }
  }
}

const settleAnswer = z.discriminatedUnion("status", [
  z.object({ status: z.literal("done"), posted: z.int(), overrun: z.int() }),
  z.object({ status: z.literal("unchanged"), state: z.enum(holdStates).nullable() }),
]);

/** The answer of `settle`. */
export function readSettle(answer: unknown): SettleOutcome {
  const read = settleAnswer.parse(answer);
  if (read.status === "unchanged") return read;
  return { status: "done", postedNanoUsd: read.posted, overrunNanoUsd: read.overrun };
}

const agentTimeAnswer = z.discriminatedUnion("status", [
  z.object({ status: z.literal("granted"), ms: z.int() }),
  z.object({ status: z.literal("stale") }),
  z.object({ status: z.literal("exhausted"), ...refusal }),
]);

/** The answer of `lease_agent_time`. */
export function readAgentTime(answer: unknown): AgentTimeOutcome {
  const read = agentTimeAnswer.parse(answer);
  if (read.status !== "exhausted") return read;
  const { scope_id: scopeId, ...rest } = read;
  return { ...rest, scopeId };
}

import type { z } from "zod";
import type {
  LimitLevel,
  LimitMeter,
  simulateCallSchema,
  SimulatedCall,
} from "@guildhall/sdk/contract/limit.ts";
import { findPrice } from "../../gateway/request/prices.ts";
import { leastTokens } from "../../gateway/request/request.ts";
import { worstCase } from "../../gateway/request/worst-case.ts";
import type { WorkspaceTx } from "../../platform/db.ts";
import { AppError } from "../../platform/errors.ts";
import { validationFailed } from "../../platform/http-errors.ts";
import { taskDefaults } from "../task-creation.ts";
import { readPeriods, readScopeNames } from "./limit-reading.ts";
import { EACH_NEW_TASK } from "./limit-rows.ts";

type SimulateCall = z.infer<typeof simulateCallSchema>;
type Check = SimulatedCall["checks"][number];
type Outcome = Check["outcome"];

/** A step is not begun with less agent time than this; milliseconds. */
const LEAST_TIME_MS = 1_000;

function notFound(what: "agent" | "task" | "key"): AppError {
  const message = `There is no such ${what}.`;
  return new AppError({
    code: "limit_scope_not_found",
    status: 422,
    publicMessage: message,
    hint: `Give the id of one of the workspace's ${what}s, or leave ${what} out.`,
    fields: [{ field: what, message }],
  });
}

const tables = { agent: "agents", task: "tasks", key: "api_keys" } as const;

async function requireScopes(tx: WorkspaceTx, call: SimulateCall): Promise<void> {
  if (call.key !== undefined && (call.agent !== undefined || call.task !== undefined))
    throw validationFailed([{ field: "key", message: "cannot be given with agent or task" }]);
  for (const what of ["agent", "task", "key"] as const) {
    if (call[what] === undefined) continue;
    const rows = await tx.query({
      text: `SELECT 1 FROM ${tables[what]} WHERE workspace_id = current_workspace() AND id = $1`,
      values: [call[what]],
    });
    if (rows.length === 0) throw notFound(what);
  }
}

type Asked = { level: LimitLevel; scope_id: string; outcome: Outcome; room: number | null };

/** The evaluator's word of each limited level: for what was asked, and for the least that would do. */
async function ask(
  tx: WorkspaceTx,
  question: {
    meter: "model_cost" | "agent_time";
    call: SimulateCall;
    needed: number;
    least: number;
  },
): Promise<Asked[]> {
  const { meter, call, needed, least } = question;
  return tx.query<Asked>({
    name: "simulate_call",
    text: `SELECT l.level, l.scope_id, CASE WHEN w.outcome = 'fits' THEN 'fits' WHEN l.outcome = 'fits' THEN 'clamped' ELSE l.outcome END AS outcome, l.room
      FROM check_limits($1, $2, $3, $4, $5) WITH ORDINALITY l(level, scope_id, period, outcome, room, n)
      JOIN check_limits($1, $2, $3, $4, $6) w USING (level, scope_id) ORDER BY l.n`,
    values: [meter, call.task ?? null, call.key ?? null, call.agent ?? null, least, needed],
  });
}

const worst: readonly Outcome[] = ["fits", "clamped", "reserved", "exhausted"];

/** A new task's own cap, for a task that is not there yet. */
function newTaskCap(amounts: { needed: number; least: number }): Check {
  const cap = taskDefaults.costNanoUsd;
  const { needed, least } = amounts;
  const outcome = needed <= cap ? "fits" : least <= cap ? "clamped" : "exhausted";
  return {
    level: "task",
    scope_id: EACH_NEW_TASK,
    scope_name: null,
    meter: "model_cost",
    outcome,
    needed,
    left: cap,
  };
}

/** What the limits would say to a call now. Nothing is held, and nothing is promised: others may be faster. */
export async function simulateCall(tx: WorkspaceTx, call: SimulateCall): Promise<SimulatedCall> {
  await requireScopes(tx, call);
  const price = findPrice(call.model);
  if (price === undefined) return { outcome: "unpriced", cost_nano_usd: null, checks: [] };
  const { inputNanoUsd, outputNanoUsdPerToken } = worstCase(price, {
    tokens: call.input_tokens,
    largestTtl: "5m",
  });
  const needed = inputNanoUsd + outputNanoUsdPerToken * call.max_tokens;
  const leastAnswer = leastTokens({ max_tokens: call.max_tokens });
  const money = { needed, least: inputNanoUsd + outputNanoUsdPerToken * leastAnswer };
  const names = await readScopeNames(tx);
  const { suspended, workspaceName } = await readPeriods(tx);
  const toCheck =
    (meter: LimitMeter, amount: number) =>
    (asked: Asked): Check => ({
      level: asked.level,
      scope_id: asked.scope_id,
      scope_name:
        asked.level === "workspace"
          ? workspaceName
          : (names.get(`${asked.level} ${asked.scope_id}`) ?? null),
      meter,
      outcome: asked.outcome,
      needed: amount,
      left: asked.room === null ? null : Math.max(0, asked.room),
    });
  const time = { needed: LEAST_TIME_MS, least: LEAST_TIME_MS };
  const checks = [
    ...(call.task === undefined && call.key === undefined ? [newTaskCap(money)] : []),
    ...(await ask(tx, { meter: "model_cost", call, ...money })).map(toCheck("model_cost", needed)),
    // No agent works in a key's calls.
    ...(call.key === undefined
      ? (await ask(tx, { meter: "agent_time", call, ...time })).map(
          toCheck("agent_time", LEAST_TIME_MS),
        )
      : []),
  ];
  const outcome = checks.reduce<Outcome>(
    (sofar, check) => (worst.indexOf(check.outcome) > worst.indexOf(sofar) ? check.outcome : sofar),
    "fits",
  );
  return { outcome: suspended === null ? outcome : "suspended", cost_nano_usd: needed, checks };
}

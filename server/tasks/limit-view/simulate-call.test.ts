import { simulatedCallSchema, type SimulatedCall } from "@guildhall/sdk/contract/limit.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { findPrice } from "../../gateway/request/prices.ts";
import { worstCase } from "../../gateway/request/worst-case.ts";
import type { ReserveOutcome } from "../../ledger/calls.ts";
import { request } from "../../ledger/fixture.ts";
import { createLedger } from "../../ledger/ledger.ts";
import { newId } from "../../platform/ids.ts";
import { type Caller, expectProblem, startTestApi } from "../../test/api.ts";
import { createClaimedRun, limitTop, type ClaimedRun } from "../../test/tenant.ts";

const api = await startTestApi();
const { admin, db, send } = api;
const ledger = createLedger({ db, processId: "wrk_simulate" });
await ledger.processSeen("gateway");
const MODEL = "claude-sonnet-4-5";
const price = findPrice(MODEL)!;

const post = (caller: Caller, json: object) =>
  send("POST", "/v1/limits/simulate", { key: caller.key, json });

async function simulate(caller: Caller, json: object): Promise<SimulatedCall> {
  const response = await post(caller, {
    model: MODEL,
    input_tokens: 100,
    max_tokens: 2_000,
    ...json,
  });
  expect(response.status).toBe(200);
  return simulatedCallSchema.strict().parse(await response.json());
}

type Call = { inputTokens: number; maxTokens: number };

function reserve(
  run: ClaimedRun,
  { inputTokens, maxTokens }: Call,
  holdId: string,
): Promise<ReserveOutcome> {
  const worst = worstCase(price, { tokens: inputTokens, largestTtl: "5m" });
  return ledger.reserve(
    request(run, { ...worst, holdId, maxTokens, minTokens: Math.min(maxTokens, 1_024) }),
  );
}

/** What the ledger answered, in the words of a simulation. */
function wordOf(outcome: ReserveOutcome, maxTokens: number): string {
  return outcome.status === "held"
    ? outcome.maxTokens === maxTokens
      ? "fits"
      : "clamped"
    : outcome.status;
}

const levels = ["task", "agent", "workspace", "owner", "platform"] as const;
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("call" as const),
      who: fc.nat(1),
      inputTokens: fc.integer({ min: 0, max: 5_000 }),
      maxTokens: fc.integer({ min: 1, max: 8_000 }),
      /** What part of the hold the call costs in the end, percent; it stays open when absent. */
      settled: fc.option(fc.nat(100)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("limit" as const),
      level: fc.constantFrom(...levels),
      amount: fc.option(fc.integer({ min: 1, max: 400_000_000 })),
    }),
  },
);

test("a simulation says what the admission right after it does, at every level, whatever was spent, held and set before", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
      const mine = await api.caller();
      const other = await api.caller({ billingAccountId: mine.billingAccountId });
      const callers = [mine, other];
      const options = { costLimitNanoUsd: 1_000_000_000_000 };
      const runs = [
        await createClaimedRun(admin, mine, options),
        await createClaimedRun(admin, other, options),
      ];
      for (const each of steps) {
        if (each.do === "limit") {
          const { level, amount } = each;
          if (level === "owner" || level === "platform")
            await limitTop(admin, {
              level,
              scopeId: level === "owner" ? mine.billingAccountId : "platform",
              meter: "model_cost",
              amount,
            });
          else {
            const scopeId = { task: runs[0]!.taskId, agent: "gray", workspace: mine.workspaceId }[
              level
            ];
            await db.withWorkspace(mine.workspaceId, (tx) =>
              tx.query({
                text: "SELECT set_limit('model_cost', $1, $2, $3, 'test')",
                values: [level, scopeId, amount],
              }),
            );
          }
          continue;
        }
        const { who, settled, inputTokens, maxTokens } = each;
        const run = runs[who]!;
        const said = await simulate(callers[who]!, {
          input_tokens: inputTokens,
          max_tokens: maxTokens,
          task: run.taskId,
        });
        const holdId = newId("hold");
        const did = await reserve(run, { inputTokens, maxTokens }, holdId);
        expect(said.outcome).toBe(wordOf(did, maxTokens));
        if (did.status === "held" && settled !== null)
          await ledger.settle({
            workspaceId: run.workspaceId,
            holdId,
            outcome: "settled",
            actualNanoUsd: Math.floor((did.amountNanoUsd * settled) / 100),
          });
      }
      await limitTop(admin, {
        level: "platform",
        scopeId: "platform",
        meter: "model_cost",
        amount: null,
      });
    }),
    { numRuns: 20 },
  );
}, 120_000);

test("it names every limit that was asked, and holds nothing", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 1_000, agentTimeLimitMs: 500 });
  const said = await simulate(caller, { agent: "gray" });
  expect(said).toMatchObject({ outcome: "exhausted", cost_nano_usd: 100 * 3_750 + 2_000 * 15_000 });
  expect(said.checks.map((check) => [check.level, check.meter, check.outcome, check.left])).toEqual(
    [
      ["task", "model_cost", "fits", 500_000_000],
      ["workspace", "model_cost", "exhausted", 1_000],
      ["workspace", "agent_time", "exhausted", 500],
    ],
  );
  const { rowCount } = await admin.query("SELECT 1 FROM budgets WHERE workspace_id = $1", [
    caller.workspaceId,
  ]);
  expect(rowCount).toBe(0);
});

test("a new task of an agent counts against the agent's limit, and against the cap that it would start with", async () => {
  const caller = await api.caller();
  await db.withWorkspace(caller.workspaceId, (tx) =>
    tx.query({ text: "SELECT set_limit('model_cost', 'agent', 'gray', 7, 'test')", values: [] }),
  );
  expect(await simulate(caller, {})).toMatchObject({ outcome: "fits" });
  const said = await simulate(caller, { agent: "gray" });
  expect(said.outcome).toBe("exhausted");
  expect(said.checks).toContainEqual(
    expect.objectContaining({ level: "agent", scope_name: "gray", left: 7 }),
  );
  // $0.50 at $15 a million tokens.
  expect(await simulate(caller, { max_tokens: 40_000 })).toMatchObject({ outcome: "clamped" });
});

test("a call of an API key counts against the key, and against no task or agent", async () => {
  const caller = await api.caller();
  const { rows } = await admin.query<{ id: string }>(
    "SELECT id FROM api_keys WHERE workspace_id = $1",
    [caller.workspaceId],
  );
  const key = rows[0]!.id;
  const json = { level: "key", scope_id: key, meter: "model_cost", amount: 9 };
  expect((await send("PUT", "/v1/limits", { key: caller.key, json })).status).toBe(200);
  const said = await simulate(caller, { key });
  expect(said.checks).toMatchObject([{ level: "key", scope_name: "test key", left: 9 }]);
  expect(said.outcome).toBe("exhausted");
  await expectProblem(
    await post(caller, { model: MODEL, input_tokens: 1, max_tokens: 1, key, agent: "gray" }),
    400,
    "validation_failed",
  );
});

test("a model without a price and a suspended workspace are told apart from limits", async () => {
  const caller = await api.caller();
  expect(await simulate(caller, { model: "claude-x" })).toEqual({
    outcome: "unpriced",
    cost_nano_usd: null,
    checks: [],
  });
  await admin.query("UPDATE workspaces SET suspended = 'operator' WHERE workspace_id = $1", [
    caller.workspaceId,
  ]);
  expect(await simulate(caller, {})).toMatchObject({ outcome: "suspended" });
});

test("bad input is refused with the field; another workspace's task and agent are as unknown as none", async () => {
  const [mine, other] = [await api.caller(), await api.caller()];
  const { taskId } = await createClaimedRun(admin, other);
  const body = { model: MODEL, input_tokens: 1, max_tokens: 1 };
  for (const [wrong, field] of [
    [{ max_tokens: 0 }, "max_tokens"],
    [{ input_tokens: -1 }, "input_tokens"],
    [{ model: "" }, "model"],
    [{ more: 1 }, "more"],
  ] as const) {
    const problem = await expectProblem(
      await post(mine, { ...body, ...wrong }),
      400,
      "validation_failed",
    );
    expect(problem.errors?.map((error) => error.field)).toEqual([field]);
  }
  for (const task of [taskId, "task_none"])
    await expectProblem(await post(mine, { ...body, task }), 422, "limit_scope_not_found");
  await expectProblem(await post(mine, { ...body, agent: "nobody" }), 422, "limit_scope_not_found");
});

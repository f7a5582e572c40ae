import { expect, test } from "vitest";
import { agentListSchema, countedMeters, usageSchema } from "@guildhall/sdk/contract/workspace.ts";
import { type Caller, startTestApi } from "../test/api.ts";
import { request } from "../ledger/fixture.ts";
import { createLedger } from "../ledger/ledger.ts";
import { type ClaimedRun, createAgent, createClaimedRun, createQueuedRun } from "../test/tenant.ts";

const api = await startTestApi();
const { admin, db, send } = api;
const ledger = createLedger({ db, processId: "wrk_test" });

async function usageOf(caller: Caller) {
  const response = await send("GET", "/v1/usage", { key: caller.key });
  expect(response.status).toBe(200);
  return usageSchema.strict().parse(await response.json());
}

const thisMonth = async (): Promise<{ month: string; day: string; next: Date }> =>
  (
    await admin.query<{ month: string; day: string; next: Date }>(
      `SELECT to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM') AS month, to_char(clock_now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
         (date_trunc('month', clock_now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC' AS next`,
    )
  ).rows[0]!;

test("a new workspace has used nothing, of its limits or of none", async () => {
  const caller = await api.caller({
    costLimitNanoUsd: 9_000,
    concurrentTasks: 3,
    apiRequestsPerHour: 100,
    members: 5,
  });
  const { month, next } = await thisMonth();
  const resets_at = next.toISOString();
  expect(await usageOf(caller)).toEqual({
    meters: [
      { meter: "model_cost", used: 0, held: 0, limit: 9_000, period: month, resets_at },
      { meter: "agent_time", used: 0, held: 0, limit: null, period: month, resets_at },
      { meter: "concurrent_tasks", used: 0, held: 0, limit: 3, period: "now", resets_at: null },
      // The request that asks is leased from what is counted, and told of with the next ones.
      { meter: "api_requests", used: 0, held: 5, limit: 100, period: "hour", resets_at: null },
      { meter: "members", used: 1, held: 0, limit: 5, period: "now", resets_at: null },
    ],
    counted: countedMeters.map((meter) => ({
      meter,
      used: 0,
      period: meter === "storage_bytes" ? "now" : month,
    })),
    by_agent: [{ agent_id: "gray", tasks: 0, spent_nano_usd: 0 }],
    by_key: [],
    by_model: [],
    by_day: [],
    simulated: true,
  });
});

/** Moves the database's clock; it is what all periods are counted by. */
const setClock = (offset: string) =>
  admin.query(
    `CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$SELECT clock_timestamp() + interval '${offset}'$$`,
  );

const usage = {
  input_tokens: 10,
  cache_read_input_tokens: 5,
  cache_creation_5m_input_tokens: 2,
  cache_creation_1h_input_tokens: 1,
  output_tokens: 7,
};

/** One model call of a run of its own: held at 200, settled at `actualNanoUsd`. */
async function pay(caller: Caller, model: string, actualNanoUsd: number): Promise<ClaimedRun> {
  const run = await createClaimedRun(admin, caller);
  const call = request(run, { model });
  expect(await ledger.reserve(call)).toMatchObject({ status: "held", amountNanoUsd: 200 });
  const { holdId } = call;
  const { workspaceId } = run;
  expect(
    await ledger.settle({ workspaceId, holdId, outcome: "settled", actualNanoUsd, usage }),
  ).toMatchObject({ status: "done" });
  return run;
}

test("usage tells what was spent, by agent, model and day; last month's is not this month's", async () => {
  const caller = await api.caller();
  await createAgent(admin, { workspaceId: caller.workspaceId, agentId: "sable" });
  await setClock("-40 days");
  await pay(caller, "model-a", 90);
  await setClock("0 days");
  await pay(caller, "model-a", 150);
  const run = await pay(caller, "model-b", 40);
  // One call that nobody knows the outcome of, and one that runs.
  const { workspaceId } = caller;
  const lost = request(run, { model: "model-b" });
  await ledger.reserve(lost);
  await ledger.settle({ workspaceId, holdId: lost.holdId, outcome: "provisional" });
  await ledger.reserve(request(run, { model: "model-b" }));
  await createQueuedRun(admin, caller, { agentId: "sable" });
  const { day } = await thisMonth();
  const counts = {
    input_tokens: 10,
    cache_read_tokens: 5,
    cache_write_tokens: 3,
    output_tokens: 7,
  };
  const found = await usageOf(caller);
  expect(found.meters).toMatchObject([
    { meter: "model_cost", used: 390, held: 200 },
    { meter: "agent_time", used: 0 },
    { meter: "concurrent_tasks", used: 3 },
    { meter: "api_requests" },
    { meter: "members", used: 1 },
  ]);
  expect(found.by_agent).toEqual([
    { agent_id: "gray", tasks: 2, spent_nano_usd: 390 },
    { agent_id: "sable", tasks: 1, spent_nano_usd: 0 },
  ]);
  expect(found.by_model).toEqual([
    { model: "model-b", calls: 2, spent_nano_usd: 240, ...counts },
    { model: "model-a", calls: 1, spent_nano_usd: 150, ...counts },
  ]);
  expect(found.by_day).toEqual([{ day, spent_nano_usd: 390, tasks: 3 }]);
});

test("the agents are listed by their desks, without what makes them: their prompts stay inside", async () => {
  const caller = await api.caller();
  const response = await send("GET", "/v1/agents", { key: caller.key });
  const text = await response.text();
  expect(text).not.toContain("You are a test agent");
  expect(agentListSchema.strict().parse(JSON.parse(text)).data).toMatchObject([
    { id: "gray", desk: 1, model: "claude-sonnet-4-5" },
  ]);
});

test("another workspace's usage and agents are not seen", async () => {
  const busy = await api.caller();
  await createAgent(admin, { workspaceId: busy.workspaceId, agentId: "theirs" });
  await createQueuedRun(admin, busy);
  const caller = await api.caller();
  const usage = await usageOf(caller);
  expect(usage.by_agent).toEqual([{ agent_id: "gray", tasks: 0, spent_nano_usd: 0 }]);
  expect(usage.by_day).toEqual([]);
});

import { expect, it } from "vitest";
import { alertListSchema, workspaceEventSchema } from "@guildhall/sdk/contract/alert.ts";
import { request } from "../ledger/fixture.ts";
import { createLedger } from "../ledger/ledger.ts";
import { setLimit } from "../ledger/limits.ts";
import { withRefusedDemand } from "../ledger/refused-demand.ts";
import { createLogger } from "../platform/log.ts";
import { type Caller, expectProblem, startTestApi } from "../test/api.ts";
import {
  type ClaimedRun,
  createClaimedRun,
  createQueuedRun,
  limitTop,
  type Tenant,
} from "../test/tenant.ts";
import { createAlertJob } from "./alert-job.ts";

const api = await startTestApi();
const { admin, db, send } = api;
const log = createLogger({ level: "silent" });
const ledger = withRefusedDemand(createLedger({ db, processId: "wrk_test" }), { db, log });
const look = createAlertJob({ db, log, storageQuotaBytes: null });

type Row = {
  meter: string;
  level: string;
  scope_id: string;
  kind: string;
  percent: number;
  limit_version: number;
};

/** `level kind percent` of the alerts of a workspace, in the order of their raising. */
async function alertsOf(
  { workspaceId }: Pick<Tenant, "workspaceId">,
  filter: { level?: string } = {},
): Promise<string[]> {
  const { rows } = await admin.query<Row>(
    `SELECT meter, level, scope_id, kind, percent, limit_version FROM limit_alerts WHERE workspace_id = $1 AND ($2::text IS NULL OR level = $2) ORDER BY seq`,
    [workspaceId, filter.level ?? null],
  );
  return rows.map(
    (row) => `${row.meter} ${row.level} v${row.limit_version} ${row.kind} ${row.percent}`,
  );
}

/** One call of a run, held at 200 (or as `changes` say) and charged with `actualNanoUsd`. */
async function spend(
  run: ClaimedRun,
  actualNanoUsd: number,
  changes: Parameters<typeof request>[1] = {},
): Promise<void> {
  const call = request(run, changes);
  expect(await ledger.reserve(call)).toMatchObject({ status: "held" });
  await ledger.settle({
    workspaceId: run.workspaceId,
    holdId: call.holdId,
    outcome: "settled",
    actualNanoUsd,
  });
}

async function looksUntilQuiet(): Promise<void> {
  while ((await look()) !== 0);
}

it("each threshold of a limit is told once, in order, and not before it is reached", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 400 });
  const run = await createClaimedRun(admin, caller);
  const small = { inputNanoUsd: 0, maxTokens: 8 };
  await spend(run, 199);
  await looksUntilQuiet();
  expect(await alertsOf(caller)).toEqual([]);
  await spend(run, 1);
  await looksUntilQuiet();
  await looksUntilQuiet();
  expect(await alertsOf(caller)).toEqual(["model_cost workspace v1 used 50"]);
  await spend(run, 80, small);
  await spend(run, 40, small);
  await looksUntilQuiet();
  await spend(run, 80, small);
  await looksUntilQuiet();
  expect(await alertsOf(caller)).toEqual([
    "model_cost workspace v1 used 50",
    "model_cost workspace v1 used 80",
    "model_cost workspace v1 used 100",
  ]);
});

it("what is only held raises nothing: it mostly returns", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 200 });
  const run = await createClaimedRun(admin, caller);
  const call = request(run);
  expect(await ledger.reserve(call)).toMatchObject({ status: "held" });
  await looksUntilQuiet();
  await ledger.settle({
    workspaceId: run.workspaceId,
    holdId: call.holdId,
    outcome: "settled",
    actualNanoUsd: 10,
  });
  await looksUntilQuiet();
  expect(await alertsOf(caller)).toEqual([]);
});

it("50 crossings at once, looked at by ten processes, raise one alert with one event and one outbox row each", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 5_000 });
  const runs: ClaimedRun[] = [];
  while (runs.length < 50) runs.push(await createClaimedRun(admin, caller));
  const lookers = Array.from({ length: 10 }, () =>
    createAlertJob({ db, log, storageQuotaBytes: null }),
  );
  let settled = 0;
  await Promise.all([
    ...runs.map(async (run) => {
      // Together they hold the whole limit.
      await spend(run, 100, { inputNanoUsd: 90, maxTokens: 1 });
      settled++;
    }),
    ...lookers.map(async (each) => {
      while (settled < runs.length) await each();
    }),
  ]);
  await looksUntilQuiet();
  const expected = [50, 80, 100].map((percent) => `model_cost workspace v1 used ${percent}`);
  expect(await alertsOf(caller)).toEqual(expected);
  const told = await admin.query<{ percent: number; seq: string }>(
    `SELECT (data->>'percent')::int AS percent, seq FROM events WHERE workspace_id = $1 AND stream_id = $1 AND type = 'limit.alert' ORDER BY seq`,
    [caller.workspaceId],
  );
  expect(told.rows).toEqual([
    { percent: 50, seq: "1" },
    { percent: 80, seq: "2" },
    { percent: 100, seq: "3" },
  ]);
  const outbox = await admin.query(
    `SELECT FROM outbox WHERE workspace_id = $1 AND topic = 'limit.alert'`,
    [caller.workspaceId],
  );
  expect(outbox.rowCount).toBe(3);
});

it("a limit that is raised counts anew, and one that stays is not told of again", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 200 });
  const run = await createClaimedRun(admin, caller);
  await spend(run, 160);
  await looksUntilQuiet();
  const { workspaceId } = caller;
  const change = { meter: "model_cost", level: "workspace", scopeId: workspaceId } as const;
  await db.withWorkspace(workspaceId, (tx) =>
    setLimit(tx, { ...change, amount: 1_000, actor: "test" }),
  );
  await looksUntilQuiet();
  await spend(run, 200);
  await spend(run, 200);
  await looksUntilQuiet();
  expect(await alertsOf(caller)).toEqual([
    "model_cost workspace v1 used 50",
    "model_cost workspace v1 used 80",
    "model_cost workspace v2 used 50",
  ]);
});

it("agents, tasks and their agent time have their own alerts, also a task that ended before the next look", async () => {
  const caller = await api.caller();
  const run = await createClaimedRun(admin, caller, {
    costLimitNanoUsd: 400,
    agentTimeLimitMs: 10_000,
  });
  await db.withWorkspace(caller.workspaceId, (tx) =>
    setLimit(tx, {
      meter: "model_cost",
      level: "agent",
      scopeId: caller.agentId,
      amount: 250,
      actor: "test",
    }),
  );
  await spend(run, 200);
  await ledger.leaseAgentTime({ ...run, bookingNo: 1, sliceMs: 6_000 });
  await db.withWorkspace(caller.workspaceId, (tx) =>
    tx.query({
      text: "SELECT finish_run($1, $2, 'succeeded', NULL, 'done', '{\"result\":\"done\"}')",
      values: [run.runId, run.epoch],
    }),
  );
  await looksUntilQuiet();
  expect((await alertsOf(caller)).toSorted()).toEqual([
    "agent_time task v0 used 50",
    "model_cost agent v1 used 50",
    "model_cost agent v1 used 80",
    "model_cost task v0 used 50",
  ]);
});

it("a limit that refuses is reached, though less than a call is left of it; and its demand is told once it doubles", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 300 });
  const runs = [await createClaimedRun(admin, caller), await createClaimedRun(admin, caller)];
  await spend(runs[0]!, 200);
  // The same run asks again and again: that is the same demand.
  for (let n = 0; n < 20; n++)
    expect(await ledger.reserve(request(runs[1]!))).toMatchObject({ status: "exhausted" });
  await looksUntilQuiet();
  expect(await alertsOf(caller)).toEqual([
    "model_cost workspace v1 used 50",
    "model_cost workspace v1 used 100",
  ]);
  for (let n = 0; n < 2; n++) {
    const run = await createClaimedRun(admin, caller);
    expect(await ledger.reserve(request(run, { minTokens: 10 }))).toMatchObject({
      status: "exhausted",
    });
  }
  await looksUntilQuiet();
  await looksUntilQuiet();
  expect((await alertsOf(caller)).slice(2)).toEqual(["model_cost workspace v1 demand 200"]);
});

it("what is granted leaves no trace of demand", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 300 });
  await spend(await createClaimedRun(admin, caller), 10);
  const { rows } = await admin.query("SELECT FROM refused_demand WHERE workspace_id = $1", [
    caller.workspaceId,
  ]);
  expect(rows).toEqual([]);
});

it("slots: full is told, halves of one slot are not, and twice as many tasks as slots are demand", async () => {
  const one = await api.caller({ concurrentTasks: 1 });
  await createClaimedRun(admin, one);
  await looksUntilQuiet();
  expect(await alertsOf(one)).toEqual(["concurrent_tasks workspace v1 used 100"]);
  await createQueuedRun(admin, one);
  await looksUntilQuiet();
  expect(await alertsOf(one)).toEqual([
    "concurrent_tasks workspace v1 used 100",
    "concurrent_tasks workspace v1 demand 200",
  ]);
});

it("a billing account's limit is told in each of its workspaces without figures, the installation's only to the operator", async () => {
  const mine = await api.caller();
  const sister = await api.caller({ billingAccountId: mine.billingAccountId });
  const stranger = await api.caller();
  const scopeId = mine.billingAccountId;
  await limitTop(admin, { level: "owner", scopeId, meter: "model_cost", amount: 400 });
  await spend(await createClaimedRun(admin, mine), 200);
  await looksUntilQuiet();
  for (const tenant of [mine, sister])
    expect(await alertsOf(tenant)).toEqual(["model_cost owner v1 used 50"]);
  const { rows } = await admin.query(
    "SELECT limit_amount, amount FROM limit_alerts WHERE level = 'owner'",
  );
  expect(rows).toEqual([
    { limit_amount: null, amount: null },
    { limit_amount: null, amount: null },
  ]);
  await limitTop(admin, { level: "platform", scopeId: "platform", meter: "model_cost", amount: 1 });
  await looksUntilQuiet();
  await limitTop(admin, {
    level: "platform",
    scopeId: "platform",
    meter: "model_cost",
    amount: null,
  });
  const top = await admin.query<{ level: string; percent: number }>(
    "SELECT level, percent FROM top_alerts ORDER BY level, percent",
  );
  expect(top.rows).toEqual([
    { level: "owner", percent: 50 },
    { level: "platform", percent: 100 },
  ]);
  expect(await alertsOf(stranger)).toEqual([]);
});

it("a look that goes through few balances at a time comes round to all of them", async () => {
  const callers = [];
  for (let n = 0; n < 7; n++) {
    const caller = await api.caller({ costLimitNanoUsd: 200 });
    await spend(await createClaimedRun(admin, caller), 100);
    callers.push(caller);
  }
  const small = createAlertJob({ db, log, storageQuotaBytes: null, balancesPerLook: 2 });
  for (let n = 0; n < 60; n++) await small();
  for (const caller of callers)
    expect(await alertsOf(caller, { level: "workspace" })).toEqual([
      "model_cost workspace v1 used 50",
    ]);
});

async function listOf(caller: Caller, query = "") {
  const response = await send("GET", `/v1/alerts${query}`, { key: caller.key });
  expect(response.status).toBe(200);
  return alertListSchema.strict().parse(await response.json());
}

it("GET /v1/alerts: newest first, in pages, with what each person has not read; the event says the same", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 200 });
  const other = await api.caller({ costLimitNanoUsd: 200 });
  await spend(await createClaimedRun(admin, caller), 200);
  await looksUntilQuiet();
  const all = await listOf(caller);
  expect(all.unread).toBe(3);
  expect(all.data.map((alert) => [alert.percent, alert.amount, alert.limit, alert.unread])).toEqual(
    [
      [100, 200, 200, true],
      [80, 200, 200, true],
      [50, 200, 200, true],
    ],
  );
  const page = await listOf(caller, "?limit=2");
  expect(page.data).toEqual(all.data.slice(0, 2));
  const next = await listOf(caller, `?limit=2&before=${page.next_before}`);
  expect(next).toMatchObject({ data: all.data.slice(2), next_before: null });
  const read = (through: number, key = caller.key) =>
    send("POST", "/v1/alerts/read", { key, json: { through } });
  expect(await (await read(all.data[1]!.seq)).json()).toEqual({ unread: 1 });
  expect((await listOf(caller, "?unread=true")).data).toEqual(all.data.slice(0, 1));
  // An older number takes nothing back, and a far too high one reads nothing ahead.
  expect(await (await read(1)).json()).toEqual({ unread: 1 });
  expect(await (await read(1_000_000)).json()).toEqual({ unread: 0 });
  expect(await listOf(other)).toEqual({ data: [], unread: 0, next_before: null });
  const { rows } = await admin.query<{ type: string; data: unknown }>(
    "SELECT type, data FROM events WHERE stream_id = $1 ORDER BY seq",
    [caller.workspaceId],
  );
  for (const row of rows) workspaceEventSchema.parse(row);
  const wrong = await send("GET", "/v1/alerts?limit=0", { key: caller.key });
  await expectProblem(wrong, 400, "validation_failed");
  await expectProblem(await read(0), 400, "validation_failed");
});

it("an alert raised after all was read is unread again", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 400 });
  const run = await createClaimedRun(admin, caller);
  await spend(run, 200);
  await looksUntilQuiet();
  await send("POST", "/v1/alerts/read", { key: caller.key, json: { through: 9_999 } });
  await spend(run, 200);
  await looksUntilQuiet();
  expect((await listOf(caller)).unread).toBe(2);
});

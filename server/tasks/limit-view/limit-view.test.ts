import { type LimitList, limitListSchema, type LimitRow } from "@guildhall/sdk/contract/limit.ts";
import { expect, test } from "vitest";
import { request } from "../../ledger/fixture.ts";
import { createLedger } from "../../ledger/ledger.ts";
import { readLimits } from "./limit-view.ts";
import { newId } from "../../platform/ids.ts";
import { parkRun } from "../execution/run-parking.ts";
import { Secret } from "../../platform/secret.ts";
import type { ParkReason } from "../../runtimes/park-reason.ts";
import { type Caller, expectProblem, startTestApi } from "../../test/api.ts";
import {
  createClaimedRun,
  createContent,
  createQueuedRun,
  limitTop,
  type ClaimedRun,
} from "../../test/tenant.ts";

/** What the installation gives each workspace, bytes. */
const QUOTA = 1_000;
const api = await startTestApi({ quotaBytes: QUOTA });
const { admin, db, send } = api;
const ledger = createLedger({ db, processId: "wrk_limits" });
await ledger.processSeen("gateway");

async function list(caller: Caller, key = caller.key): Promise<LimitList> {
  const response = await send("GET", "/v1/limits", { key });
  expect(response.status).toBe(200);
  return limitListSchema.strict().parse(await response.json());
}

type Which = Partial<Pick<LimitRow, "level" | "meter" | "scope_id">>;

function rowOf({ data }: LimitList, which: Which): LimitRow {
  const found = data.filter((row) =>
    Object.entries(which).every(([name, value]) => row[name as keyof LimitRow] === value),
  );
  expect(found).toHaveLength(1);
  return found[0]!;
}

const put = (caller: Caller, json: object, key = caller.key) =>
  send("PUT", "/v1/limits", { key, json });

/** Spends and holds by the ledger's own door. */
async function use(run: ClaimedRun, amounts: { spent?: number; held?: number }): Promise<void> {
  for (const [what, amount = 0] of Object.entries(amounts)) {
    if (amount === 0) continue;
    const hold = request(run, {
      inputNanoUsd: amount - 1,
      outputNanoUsdPerToken: 1,
      maxTokens: 1,
    });
    expect(await ledger.reserve(hold)).toMatchObject({ status: "held" });
    if (what === "spent")
      await ledger.settle({
        workspaceId: run.workspaceId,
        holdId: hold.holdId,
        outcome: "settled",
        actualNanoUsd: amount,
      });
  }
}

function park(run: ClaimedRun, reason: ParkReason): Promise<boolean> {
  return parkRun(db, { ...run, token: new Secret(run.token) }, { state: "paused", reason });
}

test("each limit is told with its use, what is left, when it turns, what happens at it and who may raise it", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 1_000, concurrentTasks: 4 });
  const run = await createClaimedRun(admin, caller);
  await use(run, { spent: 700, held: 120 });
  const limits = await list(caller);
  const ends = new Date();
  ends.setUTCMonth(ends.getUTCMonth() + 1, 1);
  ends.setUTCHours(0, 0, 0, 0);
  expect(rowOf(limits, { level: "workspace", meter: "model_cost" })).toEqual({
    level: "workspace",
    scope_id: caller.workspaceId,
    scope_name: "Test workspace",
    meter: "model_cost",
    window: "month",
    period: new Date().toISOString().slice(0, 7),
    resets_at: ends.toISOString(),
    used: 700,
    held: 120,
    left: 180,
    max: 1_000,
    temporary: null,
    version: 1,
    on_hit: "pause",
    status: "warn",
    waiting: [],
    waiting_count: 0,
    changes: [
      {
        version: 1,
        amount: 1_000,
        changed_by: "test",
        changed_by_name: "test",
        changed_at: expect.any(String) as string,
      },
    ],
    raised_by: ["owner", "admin"],
    settable: true,
  });
  expect(rowOf(limits, { level: "workspace", meter: "agent_time" })).toMatchObject({
    used: 0,
    left: null,
    max: null,
    version: 0,
    status: "ok",
  });
  expect(rowOf(limits, { meter: "concurrent_tasks" })).toMatchObject({
    window: "now",
    used: 1,
    max: 4,
    left: 3,
    on_hit: "queue",
    resets_at: null,
  });
  expect(rowOf(limits, { meter: "api_requests" })).toMatchObject({ window: "hour", on_hit: "429" });
  // A seat that is taken stops nobody who works here.
  expect((await put(caller, { level: "workspace", meter: "members", amount: 1 })).status).toBe(200);
  expect(rowOf(await list(caller), { meter: "members" })).toMatchObject({
    window: "now",
    used: 1,
    max: 1,
    on_hit: "refuse",
    status: "high",
  });
  expect(rowOf(limits, { level: "task", scope_id: "*", meter: "model_cost" })).toMatchObject({
    max: 500_000_000,
    window: "task",
    settable: false,
  });
});

test.each([
  [799, 0, "ok"],
  [800, 0, "warn"],
  [700, 250, "high"],
  [1_000, 0, "stopped"],
])("%i spent and %i held of 1000 is %s", async (spent, held, status) => {
  const caller = await api.caller({ costLimitNanoUsd: 1_000 });
  await use(await createClaimedRun(admin, caller), { spent, held });
  expect(rowOf(await list(caller), { level: "workspace", meter: "model_cost" }).status).toBe(
    status,
  );
});

test("what the workspace stores stands beside its quota, which only the operator changes, with who changed it when", async () => {
  const caller = await api.caller();
  await createContent(admin, caller, 850);
  const stored = async () => rowOf(await list(caller), { meter: "storage_bytes" });
  expect(await stored()).toEqual({
    level: "workspace",
    scope_id: caller.workspaceId,
    scope_name: "Test workspace",
    meter: "storage_bytes",
    window: "now",
    period: "now",
    resets_at: null,
    used: 850,
    held: 0,
    left: 150,
    max: QUOTA,
    temporary: null,
    version: 0,
    on_hit: "refuse",
    status: "warn",
    waiting: [],
    waiting_count: 0,
    changes: [],
    raised_by: ["operator"],
    settable: false,
  });
  const agree = (version: number, isOwn: boolean, bytes: number | null) =>
    admin.query(
      `INSERT INTO storage_agreements (workspace_id, version, is_own, quota_bytes, changed_by) VALUES ($1, $2, $3, $4, 'operator')`,
      [caller.workspaceId, version, isOwn, bytes],
    );
  await agree(1, true, null);
  expect(await stored()).toMatchObject({ max: null, left: null, status: "ok" });
  await agree(2, true, 800);
  // Nothing more fits, although nobody waits for it.
  expect(await stored()).toMatchObject({ max: 800, left: 0, status: "stopped", version: 2 });
  await agree(3, false, null);
  const last = await stored();
  expect(last).toMatchObject({ max: QUOTA, left: 150, status: "warn" });
  expect(
    last.changes.map(({ version, amount, changed_by_name: by }) => [version, amount, by]),
  ).toEqual([
    [3, QUOTA, "Whoever runs this installation"],
    [2, 800, "Whoever runs this installation"],
    [1, null, "Whoever runs this installation"],
  ]);
  const { workspaceId } = caller;
  const json = { level: "workspace", scope_id: workspaceId, meter: "storage_bytes", amount: 9_000 };
  await expectProblem(await put(caller, json), 400, "validation_failed");
});

test("every change is told with who made it and when, newest first, also those of somebody who has left", async () => {
  const caller = await api.caller();
  await admin.query("UPDATE users SET name = 'Ada Owner' WHERE id = $1", [caller.userId]);
  const agent = { level: "agent", scope_id: "gray", meter: "model_cost" } as const;
  for (const amount of [5_000, null, 7_000])
    expect((await put(caller, { ...agent, amount })).status).toBe(200);
  await db.withWorkspace(caller.workspaceId, (tx) =>
    tx.query({
      text: "SELECT set_limit('model_cost', 'agent', 'gray', 8000, $1)",
      values: [`user:${caller.userId}`],
    }),
  );
  await admin.query("DELETE FROM memberships WHERE user_id = $1", [caller.userId]);
  const other = await api.caller();
  const storage = { usedBytes: 0, quotaBytes: null, installationQuotaBytes: null };
  const limits = await db.withWorkspace(caller.workspaceId, (tx) =>
    readLimits(tx, { mayChange: false, storage }),
  );
  const row = rowOf({ ...limits, simulated: true }, { level: "agent" });
  expect(row).toMatchObject({ scope_name: "gray", max: 8_000, version: 4, settable: false });
  expect(
    row.changes.map(({ version, amount, changed_by_name: by }) => [version, amount, by]),
  ).toEqual([
    [4, 8_000, "Ada Owner"],
    [3, 7_000, "test key"],
    [2, null, "test key"],
    [1, 5_000, "test key"],
  ]);
  expect((await list(other)).data.some((each) => each.level === "agent")).toBe(false);
});

test("what waits is told at the limit that stops it, with what it needs and since when", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 1_000 });
  const base = {
    kind: "limit",
    period: "all",
    posted: 0,
    held: 0,
    needed: 1_200,
    limit: 1_000,
  } as const;
  const runs = {
    workspace: await createClaimedRun(admin, caller),
    task: await createClaimedRun(admin, caller),
    calls: await createClaimedRun(admin, caller),
    unpriced: await createClaimedRun(admin, caller),
    suspended: await createClaimedRun(admin, caller),
  };
  const at = { status: "exhausted", meter: "model_cost" } as const;
  await park(runs.workspace, {
    ...base,
    ...at,
    status: "reserved",
    level: "workspace",
    scope_id: caller.workspaceId,
  });
  await park(runs.task, { ...base, ...at, level: "task", scope_id: runs.task.taskId });
  await park(runs.calls, {
    ...base,
    ...at,
    meter: "model_calls",
    level: "task",
    scope_id: runs.calls.taskId,
    needed: 1,
  });
  await park(runs.unpriced, { kind: "unpriced", model: "claude-x" });
  await park(runs.suspended, { kind: "suspended", reason: "margin_guard" });
  await admin.query("UPDATE workspaces SET suspended = 'margin_guard' WHERE workspace_id = $1", [
    caller.workspaceId,
  ]);

  const limits = await list(caller);
  const waits = (run: ClaimedRun, why: string, needed: number | null) => ({
    waiting_count: 1,
    waiting: [
      {
        task_id: run.taskId,
        title: "Test task",
        agent_id: "gray",
        why,
        needed,
        since: expect.any(String) as string,
      },
    ],
  });
  expect(rowOf(limits, { level: "workspace", meter: "model_cost" })).toMatchObject({
    status: "stopped",
    ...waits(runs.workspace, "reserved", 1_200),
  });
  expect(rowOf(limits, { scope_id: runs.task.taskId, meter: "model_cost" })).toMatchObject({
    scope_name: "Test task",
    status: "stopped",
    settable: true,
    ...waits(runs.task, "exhausted", 1_200),
  });
  expect(rowOf(limits, { scope_id: runs.calls.taskId, meter: "model_calls" })).toMatchObject({
    max: 200,
    used: 0,
    ...waits(runs.calls, "exhausted", 1),
  });
  expect(limits.stops).toEqual([
    {
      kind: "suspended",
      reason: "margin_guard",
      raised_by: ["operator"],
      ...waits(runs.suspended, "suspended", null),
    },
    {
      kind: "unpriced",
      model: "claude-x",
      raised_by: ["operator"],
      ...waits(runs.unpriced, "unpriced", null),
    },
  ]);
});

test("tasks that wait for a slot are told at the limit of tasks at once, only while there is no slot", async () => {
  const caller = await api.caller({ concurrentTasks: 1 });
  const { taskId } = await createQueuedRun(admin, caller);
  const slots = async () => rowOf(await list(caller), { meter: "concurrent_tasks" });
  expect(await slots()).toMatchObject({ used: 0, status: "ok", waiting_count: 0 });
  await createClaimedRun(admin, caller);
  expect(await slots()).toMatchObject({
    used: 1,
    status: "stopped",
    waiting_count: 1,
    waiting: [{ task_id: taskId, why: "queued" }],
  });
});

test("a task near its cap is told, and one with plenty left is not", async () => {
  const caller = await api.caller();
  const [near, far] = [
    await createClaimedRun(admin, caller, { costLimitNanoUsd: 1_000 }),
    await createClaimedRun(admin, caller, { costLimitNanoUsd: 1_000 }),
  ];
  await use(near, { spent: 960 });
  await use(far, { spent: 100 });
  const tasks = (await list(caller)).data.filter(
    (row) => row.level === "task" && row.scope_id !== "*",
  );
  expect(tasks).toMatchObject([{ scope_id: near.taskId, used: 960, max: 1_000, status: "high" }]);
});

test("of the levels above, a workspace learns its own use and whether they stop it, never a figure of others", async () => {
  const mine = await api.caller();
  const other = await api.caller({ billingAccountId: mine.billingAccountId });
  const level = { level: "owner", scopeId: mine.billingAccountId, meter: "model_cost" } as const;
  await limitTop(admin, { ...level, amount: 10_000 });
  await use(await createClaimedRun(admin, mine), { spent: 300 });
  const othersRun = await createClaimedRun(admin, other);
  await use(othersRun, { spent: 4_000 });
  const own = async () => rowOf(await list(mine), { level: "owner", meter: "model_cost" });
  expect(await own()).toMatchObject({
    scope_name: null,
    used: 300,
    held: 0,
    left: null,
    max: null,
    version: null,
    changes: [],
    status: "ok",
    raised_by: ["payer"],
    settable: false,
  });
  await use(othersRun, { spent: 5_700 });
  const full = await own();
  expect(full).toMatchObject({ used: 300, status: "stopped" });
  expect(JSON.stringify(full)).not.toMatch(/9700|5700|10000/);
});

test("an API key has a limit of its own, which is listed, enforced, and answered with 402", async () => {
  const caller = await api.caller();
  const {
    rows: [row],
  } = await admin.query<{ id: string; secret_hash: string }>(
    "SELECT id, secret_hash FROM api_keys WHERE workspace_id = $1",
    [caller.workspaceId],
  );
  const { id, secret_hash: secretHash } = row!;
  const json = { level: "key", scope_id: id, meter: "model_cost", amount: 250 };
  expect((await put(caller, json)).status).toBe(200);
  const { workspaceId } = caller;
  const call = () => ({
    ...request(run),
    spender: { kind: "api_key" as const, workspaceId, apiKeyId: id, secretHash },
    holdId: newId("hold"),
    // 200 nano-USD at the most, and never less.
    minTokens: 10,
  });
  const run = await createClaimedRun(admin, caller);
  expect(await ledger.reserve(call())).toMatchObject({ status: "held" });
  expect(await ledger.reserve(call())).toMatchObject({ status: "reserved", level: "key" });
  expect(rowOf(await list(caller), { level: "key" })).toMatchObject({
    scope_id: id,
    scope_name: "test key",
    used: 0,
    held: 200,
    left: 50,
    on_hit: "402",
    status: "warn",
    settable: true,
  });
  await expectProblem(
    await put(caller, { ...json, meter: "agent_time" }),
    422,
    "limit_not_supported",
  );
  await expectProblem(
    await put(caller, { ...json, scope_id: "key_none" }),
    422,
    "limit_scope_not_found",
  );
});

test("a key sees limits with usage:read only, and may change them with limits:write only", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 5 });
  const reader = await api.keyWith(caller, ["usage:read"]);
  const settable = (await list(caller, reader)).data.filter((row) => row.settable);
  expect(settable).toEqual([]);
  await expectProblem(
    await send("GET", "/v1/limits", { key: await api.keyWith(caller, ["tasks:read"]) }),
    403,
    "scope_missing",
  );
  await expectProblem(await send("GET", "/v1/limits"), 401, "unauthenticated");
});

test("nothing of one workspace is in the list of another", async () => {
  const [mine, other] = [
    await api.caller({ costLimitNanoUsd: 1_111 }),
    await api.caller({ costLimitNanoUsd: 2_222 }),
  ];
  const theirs = await createClaimedRun(admin, other);
  await park(theirs, {
    kind: "limit",
    status: "exhausted",
    meter: "model_cost",
    level: "workspace",
    scope_id: other.workspaceId,
    period: "all",
    limit: 2_222,
    posted: 0,
    held: 0,
    needed: 3_333,
  });
  const text = JSON.stringify(await list(mine));
  for (const secret of [other.workspaceId, other.userId, theirs.taskId, "2222", "3333"])
    expect(text).not.toContain(secret);
});

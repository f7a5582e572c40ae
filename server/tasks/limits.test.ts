import { expect, test } from "vitest";
import { planMeters, planSchema } from "@guildhall/sdk/contract/plan.ts";
import { limitSchema, usageSchema } from "@guildhall/sdk/contract/workspace.ts";
import { verifyAudit } from "../audit/audit.ts";
import { setOverride, setPlan } from "../ledger/plan-terms.ts";
import { type Caller, expectProblem, startTestApi, withoutRequestId } from "../test/api.ts";
import { createAgent, createQueuedRun } from "../test/tenant.ts";

const api = await startTestApi();
const { admin, db, send } = api;
const mine = await api.caller({ costLimitNanoUsd: 1_000 });

const put = (json: object, caller: Caller = mine) =>
  send("PUT", "/v1/limits", { key: caller.key, json });
async function limitsOf(caller: Caller): Promise<number> {
  const { rows } = await admin.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM limits WHERE workspace_id = $1",
    [caller.workspaceId],
  );
  return rows[0]!.n;
}

test("a new limit is a new version, is in force at once, and is in the audit", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 1_000 });
  const before = api.rung.length;
  const response = await put({ meter: "model_cost", level: "workspace", amount: 5_000 }, caller);
  expect(response.status).toBe(200);
  expect(limitSchema.strict().parse(await response.json())).toEqual({
    meter: "model_cost",
    level: "workspace",
    scope_id: caller.workspaceId,
    amount: 5_000,
    version: 2,
  });
  const usage = usageSchema.parse(
    await (await send("GET", "/v1/usage", { key: caller.key })).json(),
  );
  expect(usage.meters.find((meter) => meter.meter === "model_cost")?.limit).toBe(5_000);
  expect(api.rung.slice(before)).toEqual(["ready"]);
  const { rows } = await admin.query(
    "SELECT action, target, before_hash IS NOT NULL AS before, after_hash IS NOT NULL AS after FROM audit_lines WHERE workspace_id = $1 ORDER BY seq DESC LIMIT 1",
    [caller.workspaceId],
  );
  expect(rows).toEqual([
    {
      action: "limit.set",
      target: `model_cost/workspace/${caller.workspaceId}`,
      before: true,
      after: true,
    },
  ]);
  expect(await db.withWorkspace(caller.workspaceId, verifyAudit)).toMatchObject({ ok: true });
});

test("a limit can be removed, and be so small that nothing is admitted", async () => {
  const caller = await api.caller({ costLimitNanoUsd: 1_000 });
  for (const amount of [null, 1]) {
    const response = await put({ meter: "model_cost", level: "workspace", amount }, caller);
    expect(limitSchema.parse(await response.json()).amount).toBe(amount);
  }
});

test("agents and tasks of the workspace have limits of their own", async () => {
  const { taskId } = await createQueuedRun(admin, mine);
  for (const [level, scope_id] of [
    ["agent", "gray"],
    ["task", taskId],
  ]) {
    const response = await put({ meter: "agent_time", level, scope_id, amount: 60_000 });
    expect(limitSchema.parse(await response.json())).toMatchObject({ level, scope_id, version: 1 });
  }
});

test.each([
  ["a negative amount", { meter: "model_cost", level: "workspace", amount: -1 }, "amount"],
  ["an amount of zero", { meter: "model_cost", level: "workspace", amount: 0 }, "amount"],
  ["a fraction", { meter: "model_cost", level: "workspace", amount: 0.5 }, "amount"],
  ["an amount as text", { meter: "model_cost", level: "workspace", amount: "5" }, "amount"],
  [
    "an amount beyond the safe integers",
    { meter: "model_cost", level: "workspace", amount: 2 ** 53 },
    "amount",
  ],
  ["no amount", { meter: "model_cost", level: "workspace" }, "amount"],
  ["an unknown meter", { meter: "storage", level: "workspace", amount: 1 }, "meter"],
  ["a level above the workspace", { meter: "model_cost", level: "owner", amount: 1 }, "level"],
  ["an agent without its id", { meter: "model_cost", level: "agent", amount: 1 }, "scope_id"],
  [
    "an unknown field",
    { meter: "model_cost", level: "workspace", amount: 1, version: 9 },
    "version",
  ],
])("%s is refused with the field, and nothing changes", async (_title, json, field) => {
  const before = await limitsOf(mine);
  const problem = await expectProblem(await put(json), 400, "validation_failed");
  expect(problem.errors?.map((error) => error.field)).toEqual([field]);
  expect(await limitsOf(mine)).toBe(before);
});

test("what makes no sense at a level is refused: slots of an agent, agent time of a key, a task without money", async () => {
  const { taskId } = await createQueuedRun(admin, mine);
  for (const json of [
    { meter: "agent_time", level: "key", scope_id: "key_00000000000000000000000000", amount: 1 },
    { meter: "concurrent_tasks", level: "agent", scope_id: "gray", amount: 1 },
    { meter: "model_cost", level: "task", scope_id: taskId, amount: null },
  ])
    await expectProblem(await put(json), 422, "limit_not_supported");
});

test("another workspace's agent, task, key or id is as unknown as one that does not exist", async () => {
  const other = await api.caller();
  await createAgent(admin, { workspaceId: other.workspaceId, agentId: "theirs" });
  const { taskId } = await createQueuedRun(admin, other);
  const theirKey = /key_[0-9a-z]+/.exec(other.key)?.[0] ?? "";
  for (const [level, foreign, unknown] of [
    ["key", theirKey, "key_00000000000000000000000000"],
    ["agent", "theirs", "nobody"],
    ["task", taskId, "task_00000000000000000000000000"],
    ["workspace", other.workspaceId, "ws_nobody"],
  ] as const) {
    const answers = await Promise.all(
      [foreign, unknown].map((scope_id) =>
        put({ meter: "model_cost", level, scope_id, amount: 1 }),
      ),
    );
    expect(answers.map((answer) => answer.status)).toEqual([422, 422]);
    const [a, b] = await Promise.all(answers.map(withoutRequestId));
    expect(a).toContain("limit_scope_not_found");
    expect(a).toBe(b);
  }
  expect(await limitsOf(other)).toBe(0);
});

test("a key gets a limit of its own", async () => {
  const scopeId = /key_[0-9a-z]+/.exec(mine.key)?.[0];
  const limit = { meter: "model_cost", level: "key", scope_id: scopeId, amount: 25_000 };
  const response = await put(limit);
  expect(response.status).toBe(200);
  expect(limitSchema.strict().parse(await response.json())).toEqual({ ...limit, version: 1 });
});

test("limits set at once get versions one after the other", async () => {
  const caller = await api.caller();
  const answers = await Promise.all(
    Array.from({ length: 5 }, (_, n) =>
      put({ meter: "model_cost", level: "workspace", amount: n + 1 }, caller),
    ),
  );
  const versions = await Promise.all(
    answers.map(async (answer) => limitSchema.parse(await answer.json()).version),
  );
  expect(versions.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5]);
});

test("GET /v1/plan tells what each limit follows from: included, agreed, overage, own cap, and who changed it", async () => {
  const caller = await api.caller();
  const by = { workspaceId: caller.workspaceId, actor: "operator", origin: "test" };
  await db.withPlatform((tx) => setPlan(tx, { ...by, plan: "starter" }));
  await db.withPlatform((tx) => setOverride(tx, { ...by, meter: "agent_time", amount: null }));
  await send("PUT", "/v1/limits/overage", {
    key: caller.key,
    json: { meter: "model_cost", amount: 2_000_000_000 },
  });
  await put({ meter: "model_cost", level: "workspace", amount: 6_000_000_000 }, caller);
  const read = async (key: string) =>
    planSchema.parse(await (await send("GET", "/v1/plan", { key })).json());
  const plan = await read(caller.key);
  expect(plan).toMatchObject({ plan: "starter", price_nano_usd: 49_000_000_000 });
  expect(plan.terms.map((term) => term.meter)).toEqual([...planMeters]);
  expect(plan.terms[0]).toMatchObject({
    meter: "model_cost",
    included: 5_000_000_000,
    agreed: null,
    overage: 2_000_000_000,
    overage_possible: true,
    own_cap: 6_000_000_000,
    most: 7_000_000_000,
    in_force: 6_000_000_000,
    version: 3,
  });
  expect(plan.terms[0]?.changed_by).toMatch(/^key:/);
  expect(plan.terms[1]).toMatchObject({
    included: 600_000_000,
    agreed: { amount: null },
    overage_possible: false,
    most: null,
    in_force: null,
    changed_by: "operator",
  });
  // Without a plan of numbers nothing is included, and nobody changed anything.
  const other = await read(mine.key);
  expect(other.terms[1]).toMatchObject({
    included: null,
    most: null,
    version: 0,
    changed_by: null,
  });
  expect(other.terms[0]).toMatchObject({ in_force: 1_000 });
  const reader = await api.keyWith(mine, ["tasks:read"]);
  await expectProblem(await send("GET", "/v1/plan", { key: reader }), 403, "scope_missing");
});

import fc from "fast-check";
import { expect, it } from "vitest";
import { verifyAudit } from "../audit/audit.ts";
import { newId } from "../platform/ids.ts";
import { createTestDatabase } from "../test/database.ts";
import { type ClaimedRun, createClaimedRun, createTenant, type Tenant } from "../test/tenant.ts";
import { request } from "./fixture.ts";
import { createLedger } from "./ledger.ts";
import { setLimit } from "./limits.ts";
import {
  applyPlan,
  setAccountLimit,
  setOverage,
  setOverride,
  setOwnCap,
  setPlan,
} from "./plan-terms.ts";
import { planMeters } from "@guildhall/sdk/contract/plan.ts";
import { type PlanName, plans } from "./plans.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: newId("wrk") });
const by = { actor: "system", origin: "test" };
const USD = 1_000_000_000;

async function tenantOn(plan: PlanName, options: { billingAccountId?: string } = {}) {
  const tenant = await createTenant(admin, { plan, ...options });
  await putOn(tenant, plan);
  return tenant;
}

const putOn = ({ workspaceId }: Tenant, plan: PlanName) =>
  db.withPlatform((tx) => setPlan(tx, { workspaceId, plan, ...by }));

async function limitsOf({ workspaceId }: Tenant): Promise<Record<string, number | null>> {
  const { rows } = await admin.query<{ meter: string; amount: string | null }>(
    "SELECT DISTINCT ON (meter) meter, amount FROM limits WHERE workspace_id = $1 AND level = 'workspace' ORDER BY meter, version DESC",
    [workspaceId],
  );
  return Object.fromEntries(
    rows.map((row) => [row.meter, row.amount === null ? null : Number(row.amount)]),
  );
}

const costLimitOf = async (tenant: Tenant) => (await limitsOf(tenant))["model_cost"];

/** A call of the run that costs so much, at most `maxNanoUsd` of it held; settled at once unless it is kept open. */
async function call(run: ClaimedRun, nanoUsd: number, keepOpen = false) {
  const ask = request(run, { inputNanoUsd: nanoUsd, outputNanoUsdPerToken: 0 });
  const answer = await ledger.reserve(ask);
  const end = () =>
    ledger.settle({
      workspaceId: run.workspaceId,
      holdId: ask.holdId,
      outcome: "settled",
      actualNanoUsd: nanoUsd,
    });
  if (answer.status === "held" && !keepOpen) await end();
  return { status: answer.status, end };
}

const claim = (tenant: Tenant) =>
  createClaimedRun(admin, tenant, { costLimitNanoUsd: 1_000 * USD });

/** Spends in steps until the limit says no. -> how much */
async function spendAll(run: ClaimedRun, stepNanoUsd: number): Promise<number> {
  for (let spent = 0; ; spent += stepNanoUsd)
    if ((await call(run, stepNanoUsd)).status !== "held") return spent;
}

it("a plan sets all limits in one step, with one line in the audit", async () => {
  const tenant = await tenantOn("starter");
  const { starter } = plans;
  expect(await limitsOf(tenant)).toEqual({
    model_cost: starter.modelCostNanoUsd,
    agent_time: starter.agentTimeMs,
    concurrent_tasks: starter.concurrentTasks,
    api_requests: starter.apiRequestsPerHour,
    members: starter.members,
  });
  const changes = await putOn(tenant, "pro");
  expect(changes.map((change) => change.meter).toSorted()).toEqual([...planMeters].toSorted());
  for (const change of changes) expect(change).toMatchObject({ version: 2 });
  const { rows } = await admin.query(
    "SELECT action, target FROM audit_lines WHERE workspace_id = $1 ORDER BY seq",
    [tenant.workspaceId],
  );
  expect(rows).toEqual([1, 2].map(() => ({ action: "plan.set", target: tenant.workspaceId })));
  expect(await db.withWorkspace(tenant.workspaceId, verifyAudit)).toEqual({ ok: true, lines: 2 });
  const workspace = await admin.query("SELECT plan FROM workspaces WHERE workspace_id = $1", [
    tenant.workspaceId,
  ]);
  expect(workspace.rows).toEqual([{ plan: "pro" }]);
});

it("the same plan again makes no new version: nothing has changed", async () => {
  const tenant = await tenantOn("starter");
  for (const change of await putOn(tenant, "starter")) expect(change).toMatchObject({ version: 1 });
});

it("a workspace that does not exist is named, and the transaction leaves nothing", async () => {
  await expect(
    db.withPlatform((tx) => setPlan(tx, { workspaceId: "ws_nobody", plan: "pro", ...by })),
  ).rejects.toMatchObject({ code: "workspace_not_found" });
});

it("a downgrade counts from the next call on, honours what is open, and an upgrade lets the run go on", async () => {
  const tenant = await tenantOn("pro");
  const run = await claim(tenant);
  const open = await call(run, 2 * USD, true);
  expect(open.status).toBe("held");
  // Below what is held: no error, and nothing is taken away.
  await putOn(tenant, "free");
  expect((await call(run, USD / 10)).status).not.toBe("held");
  expect(await open.end()).toMatchObject({ status: "done", postedNanoUsd: 2 * USD });
  expect((await call(run, USD / 10)).status).toBe("exhausted");
  await putOn(tenant, "pro");
  expect((await call(run, USD / 10)).status).toBe("held");
});

it("plans that go back and forth within a month give no more than the largest of them", async () => {
  const tenant = await tenantOn("free");
  const run = await claim(tenant);
  let spent = await spendAll(run, USD / 10);
  expect(spent).toBe(plans.free.modelCostNanoUsd);
  for (const plan of ["starter", "free", "starter", "free", "starter"] as const) {
    await putOn(tenant, plan);
    spent += await spendAll(run, USD / 10);
  }
  expect(spent).toBe(plans.starter.modelCostNanoUsd);
});

it("a limit that is removed and set again knows what was used: periods outlive limits", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: USD });
  const run = await claim(tenant);
  const { workspaceId, agentId } = tenant;
  expect(await spendAll(run, USD / 4)).toBe(USD);
  const set = (level: "workspace" | "agent", scopeId: string, amount: number | null) =>
    db.withWorkspace(workspaceId, (tx) =>
      setLimit(tx, { meter: "model_cost", level, scopeId, amount, actor: "test" }),
    );
  await set("workspace", workspaceId, null);
  expect(await spendAll(run, 500 * USD)).toBe(500 * USD);
  await set("workspace", workspaceId, 2 * USD);
  expect((await call(run, USD / 4)).status).toBe("exhausted");
  // A level that never had a limit has counted, too.
  await set("workspace", workspaceId, null);
  await set("agent", agentId, 2 * USD);
  expect((await call(run, USD / 4)).status).toBe("exhausted");
});

it("a new workspace of the same payer gets nothing of a limit that the payer has used up", async () => {
  const first = await tenantOn("starter");
  const { billingAccountId } = first;
  const limit = { billingAccountId, meter: "model_cost", amount: 3 * USD, ...by } as const;
  await db.withPlatform((tx) => setAccountLimit(tx, limit));
  expect(await spendAll(await claim(first), USD)).toBe(3 * USD);
  const second = await tenantOn("starter", { billingAccountId });
  const run = await claim(second);
  expect((await call(run, USD)).status).toBe("exhausted");
  await db.withPlatform((tx) => setAccountLimit(tx, { ...limit, amount: 4 * USD }));
  expect(await spendAll(run, USD)).toBe(USD);
  await expect(
    db.withPlatform((tx) => setAccountLimit(tx, { ...limit, billingAccountId: "ba_nobody" })),
  ).rejects.toMatchObject({ code: "billing_account_not_found" });
  // Each workspace's audit says that the payer's limit was changed, and nothing from which the amount could be guessed.
  const { rows } = await admin.query(
    "SELECT action, target, before_hash, after_hash FROM audit_lines WHERE workspace_id = ANY ($1) AND action = 'account_limit.set' ORDER BY workspace_id, seq",
    [[first.workspaceId, second.workspaceId]],
  );
  const line = (version: number) => ({
    action: "account_limit.set",
    target: `model_cost/owner/${billingAccountId}/v${version}`,
    before_hash: null,
    after_hash: null,
  });
  expect(rows).toHaveLength(3);
  expect(rows).toEqual(expect.arrayContaining([line(1), line(2)]));
});

it("what was agreed replaces the plan's number and survives a change of plan, until it is taken back", async () => {
  const tenant = await tenantOn("free");
  const agree = (amount: number | null | "plan") =>
    db.withPlatform((tx) =>
      setOverride(tx, { workspaceId: tenant.workspaceId, meter: "model_cost", amount, ...by }),
    );
  expect(await agree(7 * USD)).toMatchObject({ before: USD / 2, amount: 7 * USD, version: 2 });
  await putOn(tenant, "starter");
  expect(await costLimitOf(tenant)).toBe(7 * USD);
  expect((await limitsOf(tenant))["members"]).toBe(plans.starter.members);
  await agree(null);
  expect(await costLimitOf(tenant)).toBeNull();
  await agree("plan");
  expect(await costLimitOf(tenant)).toBe(plans.starter.modelCostNanoUsd);
});

it("overage is nothing until it is opted in to, adds to what is included, and survives a change of plan", async () => {
  const tenant = await tenantOn("starter");
  const optIn = (amount: number) =>
    db.withWorkspace(tenant.workspaceId, (tx) =>
      setOverage(tx, { meter: "model_cost", amount, actor: "test" }),
    );
  const run = await claim(tenant);
  expect(await spendAll(run, USD)).toBe(5 * USD);
  expect(await optIn(2 * USD)).toMatchObject({ status: "set", amount: 7 * USD });
  expect(await spendAll(run, USD)).toBe(2 * USD);
  await putOn(tenant, "pro");
  expect(await costLimitOf(tenant)).toBe(22 * USD);
  expect(await optIn(0)).toMatchObject({ amount: 20 * USD });
  await putOn(tenant, "enterprise");
  expect(await optIn(USD)).toEqual({ status: "nothing_included" });
});

it("a workspace may allow itself less than its plan, never more, also after a downgrade", async () => {
  const tenant = await tenantOn("pro");
  const cap = (amount: number | null) =>
    db.withWorkspace(tenant.workspaceId, (tx) =>
      setOwnCap(tx, { meter: "model_cost", amount, actor: "test" }),
    );
  expect(await cap(21 * USD)).toEqual({ status: "beyond_plan", most: 20 * USD });
  expect(await cap(10 * USD)).toMatchObject({ status: "set", before: 20 * USD, amount: 10 * USD });
  await putOn(tenant, "starter");
  expect(await costLimitOf(tenant)).toBe(5 * USD);
  await putOn(tenant, "pro");
  expect(await costLimitOf(tenant)).toBe(10 * USD);
  expect(await cap(null)).toMatchObject({ amount: 20 * USD });
});

const term = fc.oneof(
  fc.record({
    do: fc.constant("plan" as const),
    plan: fc.constantFrom("free", "starter", "pro", "enterprise"),
  }),
  fc.record({
    do: fc.constant("agree" as const),
    amount: fc.oneof(fc.nat(100), fc.constant(null), fc.constant("plan" as const)),
  }),
  fc.record({ do: fc.constant("overage" as const), amount: fc.nat(50) }),
  fc.record({ do: fc.constant("cap" as const), amount: fc.oneof(fc.nat(100), fc.constant(null)) }),
);

it("whatever is changed in whatever order, the limit in force follows from the terms, and changes are versions", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(term, { maxLength: 12 }), async (changes) => {
      const tenant = await tenantOn("free");
      const { workspaceId } = tenant;
      const meter = "model_cost";
      let included: number | null = plans.free.modelCostNanoUsd;
      let agreed: number | null | "plan" = "plan";
      let overage = 0;
      let cap: number | null = null;
      const allowed = (): number | null => {
        const base = agreed === "plan" ? included : agreed;
        return base === null ? null : base + overage;
      };
      for (const change of changes) {
        switch (change.do) {
          case "plan":
            await putOn(tenant, change.plan);
            included = plans[change.plan].modelCostNanoUsd;
            break;
          case "agree": {
            const { amount } = change;
            await db.withPlatform((tx) => setOverride(tx, { workspaceId, meter, amount, ...by }));
            agreed = amount;
            break;
          }
          case "overage": {
            const { amount } = change;
            await db.withWorkspace(workspaceId, (tx) => setOverage(tx, { meter, amount, ...by }));
            if (allowed() !== null) overage = amount;
            break;
          }
          case "cap": {
            const { amount } = change;
            await db.withWorkspace(workspaceId, (tx) => setOwnCap(tx, { meter, amount, ...by }));
            const most = allowed();
            if (amount === null || most === null || amount <= most) cap = amount;
          }
        }
        const bounds = [allowed(), cap].filter((bound) => bound !== null);
        expect(await costLimitOf(tenant)).toBe(bounds.length === 0 ? null : Math.min(...bounds));
      }
      const { rows } = await admin.query<{
        amount: string | null;
        previous: string | null;
        version: number;
      }>(
        "SELECT version, amount, lag(amount) OVER (ORDER BY version) AS previous FROM limits WHERE workspace_id = $1 AND meter = 'model_cost' AND level = 'workspace' ORDER BY version",
        [workspaceId],
      );
      expect(rows.map((row) => row.version)).toEqual(rows.map((_row, n) => n + 1));
      for (const row of rows.slice(1)) expect(row.amount).not.toBe(row.previous);
    }),
    { numRuns: 40 },
  );
});

it("changes of plan that come at once leave one whole plan, not parts of two", async () => {
  const tenant = await tenantOn("free");
  await Promise.all(
    (["starter", "pro", "free", "pro", "starter", "pro"] as const).map((plan) =>
      putOn(tenant, plan),
    ),
  );
  const { rows } = await admin.query<{ plan: PlanName }>(
    "SELECT plan FROM workspaces WHERE workspace_id = $1",
    [tenant.workspaceId],
  );
  const plan = plans[rows[0]!.plan];
  expect(await limitsOf(tenant)).toEqual({
    model_cost: plan.modelCostNanoUsd,
    agent_time: plan.agentTimeMs,
    concurrent_tasks: plan.concurrentTasks,
    api_requests: plan.apiRequestsPerHour,
    members: plan.members,
  });
});

it("only the operator's role can change a plan or agree a number", async () => {
  const tenant = await tenantOn("free");
  const { workspaceId } = tenant;
  for (const attempt of [
    () => db.withWorkspace(workspaceId, (tx) => applyPlan(tx, { plan: "pro", actor: "test" })),
    () =>
      db.withWorkspace(workspaceId, (tx) =>
        tx.query({ text: "SELECT set_override('model_cost', 1, false, 'x')", values: [] }),
      ),
    () =>
      db.withWorkspace(workspaceId, (tx) =>
        tx.query({ text: "UPDATE limit_terms SET included = 9", values: [] }),
      ),
  ])
    await expect(attempt()).rejects.toMatchObject({ code: "42501" });
});

import { afterEach, expect, test } from "vitest";
import { createApiKeys } from "../../identity/api-keys.ts";
import { setAccountLimit, setPlan } from "../../ledger/plan-terms.ts";
import type { PlanName } from "../../ledger/plans.ts";
import { systemClock } from "../../platform/clock.ts";
import { createTestDatabase } from "../../test/database.ts";
import { createTenant, type Tenant } from "../../test/tenant.ts";
import { expectLaws, post, SMALL, startBoth } from "./gateway-fixture.ts";

const database = await createTestDatabase();
const { db, admin } = database;
afterEach(() => expectLaws(database));
const by = { actor: "operator", origin: "test" };
const USD = 1_000_000_000;
/** A long prompt, so that few calls use up a small budget. */
const LONG = {
  ...SMALL,
  messages: [{ role: "user" as const, content: `Say something. ${"word ".repeat(12_000)}` }],
};

async function keyOf(tenant: Tenant): Promise<{ id: string; token: string }> {
  const { id, key } = await createApiKeys({ db, clock: systemClock }).create({
    workspaceId: tenant.workspaceId,
    createdBy: tenant.userId,
    actor: `user:${tenant.userId}`,
    origin: "test",
    name: "program",
    scopes: ["models:invoke"],
    expiresAt: undefined,
  });
  return { id, token: key };
}

const planOf = (tenant: Tenant, plan: PlanName) =>
  db.withPlatform((tx) => setPlan(tx, { ...by, workspaceId: tenant.workspaceId, plan }));

type Refusal = { code: string; details: { level: string } };

/** Calls until there is a 402. -> how many calls were answered, and what the refusal said */
async function useUp(url: string, token: string): Promise<{ answered: number; refusal: Refusal }> {
  for (let answered = 0; ; answered++) {
    const response = await post(url, { token, body: LONG });
    const body = (await response.json()) as { error: Refusal };
    if (response.status === 402) return { answered, refusal: body.error };
    expect(response.status).toBe(200);
  }
}

test("A61 a new workspace for each trial gets nothing of a payer's limit that is used up, whatever its own plan allows", async () => {
  const { url, simulator } = await startBoth(database);
  const limit = USD / 5;
  const first = await createTenant(admin);
  const { billingAccountId } = first;
  const account = { ...by, billingAccountId, meter: "model_cost", amount: limit } as const;
  await db.withPlatform((tx) => setAccountLimit(tx, account));
  await planOf(first, "free");
  expect((await useUp(url, (await keyOf(first)).token)).answered).toBeGreaterThan(0);
  for (let n = 0; n < 5; n++) {
    const next = await createTenant(admin, { billingAccountId });
    await planOf(next, "free");
    const { answered, refusal } = await useUp(url, (await keyOf(next)).token);
    expect(answered).toBe(0);
    expect(refusal).toMatchObject({ code: "budget_exhausted", details: { level: "owner" } });
  }
  expect(simulator.meter.report().totals.cost_nano_usd).toBeLessThanOrEqual(limit);
});

test("A61 a plan that goes back and forth within a month gives no more than the larger one, and nothing on the smaller one", async () => {
  const { url, simulator } = await startBoth(database);
  const tenant = await createTenant(admin);
  const { token } = await keyOf(tenant);
  await planOf(tenant, "free");
  await useUp(url, token);
  for (let n = 0; n < 3; n++) {
    await planOf(tenant, "starter");
    for (let count = 0; count < 3; count++)
      expect((await post(url, { token, body: LONG })).status).toBe(200);
    await planOf(tenant, "free");
    const { answered, refusal } = await useUp(url, token);
    expect(answered).toBe(0);
    expect(refusal).toMatchObject({ code: "budget_exhausted", details: { level: "workspace" } });
  }
  expect(simulator.meter.report().totals.cost_nano_usd).toBeLessThanOrEqual(5 * USD);
});

test("A61 keys that are revoked and made anew, and members who take turns, share one budget", async () => {
  const { url, simulator, apiKeys } = await startBoth(database);
  const tenant = await createTenant(admin);
  await planOf(tenant, "free");
  let key = await keyOf(tenant);
  await useUp(url, key.token);
  for (let n = 0; n < 3; n++) {
    await apiKeys.revoke({ workspaceId: tenant.workspaceId, id: key.id, ...by });
    expect((await post(url, { token: key.token, body: LONG })).status).toBe(401);
    const next = await createTenant(admin);
    await admin.query(
      "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, 'admin')",
      [tenant.workspaceId, next.userId],
    );
    key = await keyOf({ ...tenant, userId: next.userId });
    const { answered, refusal } = await useUp(url, key.token);
    expect(answered).toBe(0);
    expect(refusal).toMatchObject({ code: "budget_exhausted", details: { level: "workspace" } });
  }
  expect(simulator.meter.report().totals.cost_nano_usd).toBeLessThanOrEqual(USD / 2);
});

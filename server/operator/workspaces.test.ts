import { expect, it } from "vitest";
import { createMarginGuard } from "../billing/margin-guard.ts";
import { request } from "../ledger/fixture.ts";
import { createLedger } from "../ledger/ledger.ts";
import { createLogger } from "../platform/log.ts";
import { createTestDatabase } from "../test/database.ts";
import { createClaimedRun, createTenant } from "../test/tenant.ts";
import { readMargins, suspendWorkspace } from "./workspaces.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_test" });
const USD = 1_000_000_000;

it("margins: cost, revenue and what is left of each workspace, the worst first", async () => {
  const [good, bad, own] = [
    await createTenant(admin, { plan: "pro" }),
    await createTenant(admin, { plan: "starter" }),
    await createTenant(admin),
  ];
  const run = await createClaimedRun(admin, bad, { costLimitNanoUsd: 100 * USD });
  const call = request(run, { inputNanoUsd: 60 * USD, outputNanoUsdPerToken: 0 });
  await ledger.reserve(call);
  await ledger.settle({
    workspaceId: run.workspaceId,
    holdId: call.holdId,
    outcome: "settled",
    actualNanoUsd: 60 * USD,
  });
  await createMarginGuard({
    db,
    log: createLogger({ level: "silent" }),
    rates: { agentSecondNanoUsd: 0, storageGibMonthNanoUsd: 0 },
    rule: { leastMarginPercent: 50, graceNanoUsd: 0 },
  }).refresh();
  const margins = await readMargins(db);
  expect(margins.map((m) => m.workspace_id)).toEqual([
    bad.workspaceId,
    own.workspaceId,
    good.workspaceId,
  ]);
  expect(margins[0]).toMatchObject({
    plan: "starter",
    revenue_nano_usd: 49 * USD,
    cost_nano_usd: 60 * USD,
    margin_nano_usd: -11 * USD,
    margin_percent: -22.4,
    allowed_nano_usd: 24.5 * USD,
    // Looking at figures pauses nobody.
    suspended: null,
  });
  expect(margins[1]).toMatchObject({ margin_percent: null, allowed_nano_usd: null });
  expect(margins[2]).toMatchObject({ margin_percent: 100, revenue_nano_usd: 149 * USD });
});

it("suspending and letting go are done once, each with its audit line; an unknown workspace is named", async () => {
  const { workspaceId } = await createTenant(admin);
  const set = (suspend: boolean) => suspendWorkspace(db, { workspaceId, suspend });
  expect([await set(true), await set(true), await set(false), await set(false)]).toEqual([
    true,
    false,
    true,
    false,
  ]);
  const { rows } = await admin.query(
    "SELECT actor, action FROM audit_lines WHERE workspace_id = $1 ORDER BY seq",
    [workspaceId],
  );
  expect(rows).toEqual([
    { actor: "operator", action: "workspace.suspended" },
    { actor: "operator", action: "workspace.resumed" },
  ]);
  await expect(
    suspendWorkspace(db, { workspaceId: "ws_none", suspend: true }),
  ).rejects.toMatchObject({
    code: "workspace_not_found",
  });
});

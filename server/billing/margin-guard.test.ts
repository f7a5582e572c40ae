import { expect, it } from "vitest";
import { verifyAudit } from "../audit/audit.ts";
import { createKeySpender, request } from "../ledger/fixture.ts";
import { createLedger } from "../ledger/ledger.ts";
import { createLogger } from "../platform/log.ts";
import { createTestDatabase } from "../test/database.ts";
import {
  type ClaimedRun,
  createClaimedRun,
  createContent,
  createTenant,
  type Tenant,
} from "../test/tenant.ts";
import { createMarginGuard } from "./margin-guard.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_test" });
const log = createLogger({ level: "silent" });
const USD = 1_000_000_000;

const guardWith = (leastMarginPercent: number | undefined, graceNanoUsd = 0) =>
  createMarginGuard({
    db,
    log,
    rates: { agentSecondNanoUsd: 1_000, storageGibMonthNanoUsd: 1_073_741_824 },
    rule: { leastMarginPercent, graceNanoUsd },
  });

/** A call whose worst case and whose charge is this much. */
const call = (run: ClaimedRun, nanoUsd: number) =>
  request(run, { inputNanoUsd: nanoUsd, outputNanoUsdPerToken: 0, maxTokens: 1 });

async function suspendedOf({ workspaceId }: Tenant): Promise<string | null> {
  const { rows } = await admin.query<{ suspended: string | null }>(
    "SELECT suspended FROM workspaces WHERE workspace_id = $1",
    [workspaceId],
  );
  return rows[0]!.suspended;
}

async function marginOf({ workspaceId }: Tenant): Promise<Record<string, string | null>> {
  const { rows } = await admin.query<Record<string, string | null>>(
    "SELECT * FROM workspace_margins WHERE workspace_id = $1 ORDER BY period DESC",
    [workspaceId],
  );
  return rows[0]!;
}

/** What was told of the workspace itself: event types in order. */
async function eventsOf({ workspaceId }: Tenant): Promise<string[]> {
  const { rows } = await admin.query<{ type: string }>(
    "SELECT type FROM events WHERE workspace_id = $1 AND stream_id = $1 ORDER BY seq",
    [workspaceId],
  );
  return rows.map(({ type }) => type);
}

const setClock = (offset: string) =>
  admin.query(
    `CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$SELECT clock_timestamp() + interval '${offset}'$$`,
  );

/** One call from its hold to its charge. */
async function pay(run: ClaimedRun, nanoUsd: number, actualNanoUsd = nanoUsd): Promise<void> {
  const { holdId } = await hold(run, nanoUsd);
  await ledger.settle({ workspaceId: run.workspaceId, holdId, outcome: "settled", actualNanoUsd });
}

async function hold(run: ClaimedRun, nanoUsd: number): Promise<{ holdId: string }> {
  const one = call(run, nanoUsd);
  expect(await ledger.reserve(one)).toMatchObject({ status: "held" });
  return one;
}

const bigTask = { costLimitNanoUsd: 100_000 * USD };

it("a workspace is paused before its cost exceeds what is allowed, with at most one further call per open run", async () => {
  const tenant = await createTenant(admin, { plan: "starter" });
  const guard = guardWith(80);
  const allowed = (49 * USD * 20) / 100;
  const runs: ClaimedRun[] = [];
  while (runs.length < 4) runs.push(await createClaimedRun(admin, tenant, bigTask));
  let spent = 0;
  let refused = 0;
  // All runs call at once, and the guard looks after each of them, as it does each second.
  for (let turn = 0; refused < runs.length && turn < 100; turn++) {
    refused = 0;
    const open: { workspaceId: string; holdId: string }[] = [];
    for (const run of runs) {
      const one = call(run, USD / 10);
      const outcome = await ledger.reserve(one);
      if (outcome.status === "held") open.push({ ...run, holdId: one.holdId });
      else {
        expect(outcome).toEqual({ status: "suspended", reason: "margin_guard" });
        refused++;
      }
      await guard.watch();
    }
    for (const { workspaceId, holdId } of open) {
      await ledger.settle({ workspaceId, holdId, outcome: "settled", actualNanoUsd: USD / 10 });
      spent += USD / 10;
    }
  }
  expect(await suspendedOf(tenant)).toBe("margin_guard");
  // The call that would have exceeded it was open when the guard looked; after it none was begun.
  expect(spent).toBeGreaterThan(allowed - USD / 10);
  expect(spent).toBeLessThanOrEqual(allowed + USD / 10);
  expect(await eventsOf(tenant)).toEqual(["workspace.suspended"]);
  await guard.measure();
  await guard.measure();
  expect(await eventsOf(tenant)).toEqual(["workspace.suspended"]);
});

it("lifts by itself when the threshold changes, the plan changes, the month turns or the guard is turned off", async () => {
  const spend = async (tenant: Tenant) => {
    await pay(await createClaimedRun(admin, tenant, bigTask), 40 * USD);
  };
  const tenant = await createTenant(admin, { plan: "starter" });
  await admin.query(
    "UPDATE runs SET state = 'ended', slot_no = NULL, lease_until = NULL, ended_at = clock_now() WHERE state = 'claimed'",
  );
  await spend(tenant);
  // Of $49 a cost of $40 leaves 18 %.
  const strict = guardWith(60);
  const paused = async () => {
    await strict.measure();
    expect(await suspendedOf(tenant)).toBe("margin_guard");
  };
  await paused();
  await guardWith(10).measure();
  expect(await suspendedOf(tenant)).toBeNull();
  await paused();
  await admin.query("UPDATE workspaces SET plan = 'pro' WHERE workspace_id = $1", [
    tenant.workspaceId,
  ]);
  await strict.measure();
  expect(await suspendedOf(tenant)).toBeNull();
  await admin.query("UPDATE workspaces SET plan = 'starter' WHERE workspace_id = $1", [
    tenant.workspaceId,
  ]);
  await paused();
  await guardWith(undefined).measure();
  expect(await suspendedOf(tenant)).toBeNull();
  await paused();
  await setClock("32 days");
  await strict.measure();
  await setClock("0 days");
  expect(await suspendedOf(tenant)).toBeNull();
  const verdict = await db.withWorkspace(tenant.workspaceId, verifyAudit);
  expect(verdict).toEqual({ ok: true, lines: 8 });
});

it("what the operator suspended the guard neither takes over nor lifts", async () => {
  const tenant = await createTenant(admin, { plan: "pro" });
  await db.withPlatform((tx) =>
    tx.query({
      text: "SELECT set_suspended($1, 'operator', 'operator')",
      values: [tenant.workspaceId],
    }),
  );
  await guardWith(99).measure();
  await guardWith(undefined).measure();
  expect(await suspendedOf(tenant)).toBe("operator");
  expect(await eventsOf(tenant)).toEqual(["workspace.suspended"]);
});

it("a plan without a price may cost the grace, and own installations are never paused", async () => {
  const free = await createTenant(admin, { plan: "free" });
  const own = await createTenant(admin, { plan: "self_hosted" });
  const guard = guardWith(50, USD);
  for (const [tenant, nanoUsd] of [
    [free, USD],
    [own, 500 * USD],
  ] as const) {
    await pay(await createClaimedRun(admin, tenant, bigTask), nanoUsd);
  }
  await guard.measure();
  expect([await suspendedOf(free), await suspendedOf(own)]).toEqual([null, null]);
  await hold(await createClaimedRun(admin, free, bigTask), 1);
  await guard.measure();
  expect([await suspendedOf(free), await suspendedOf(own)]).toEqual(["margin_guard", null]);
});

it("agent time, files and overrun count, each at the operator's rate, and files for the time that they were kept", async () => {
  const tenant = await createTenant(admin, { plan: "pro" });
  const guard = guardWith(undefined);
  await guard.measure();
  const run = await createClaimedRun(admin, tenant, bigTask);
  await ledger.leaseAgentTime({ ...run, bookingNo: 1, sliceMs: 15_000 });
  await pay(run, 1_000, 1_250);
  await createContent(admin, tenant, 1_024 * 1_048_576);
  await admin.query(
    "UPDATE workspace_margins SET measured_at = measured_at - interval '1 hour' WHERE workspace_id = $1",
    [tenant.workspaceId],
  );
  await guard.measure();
  const margin = await marginOf(tenant);
  expect(margin).toMatchObject({
    model_cost: "1250",
    agent_time_ms: "15000",
    agent_cost: "15000",
    storage_bytes: "1073741824",
    revenue: String(149 * USD),
    allowed: null,
  });
  const seconds = Number(margin["storage_mib_s"]) / 1_024;
  expect(seconds).toBeGreaterThanOrEqual(3_600);
  expect(seconds).toBeLessThan(3_700);
});

it("tenants see why they are suspended, and nothing of what they cost", async () => {
  const tenant = await createTenant(admin, { plan: "pro" });
  const seen = db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({ text: "SELECT suspended FROM workspaces", values: [] }),
  );
  expect(await seen).toEqual([{ suspended: null }]);
  await expect(
    db.withWorkspace(tenant.workspaceId, (tx) =>
      tx.query({ text: "SELECT * FROM workspace_margins", values: [] }),
    ),
  ).rejects.toMatchObject({ code: "42501" });
});

it("what API keys spend is seen as soon as what runs spend", async () => {
  const tenant = await createTenant(admin, { plan: "starter" });
  const guard = guardWith(80);
  await guard.measure();
  const spender = await createKeySpender(admin, tenant);
  const run = await createClaimedRun(admin, await createTenant(admin), bigTask);
  const one = { ...call(run, 10 * USD), spender };
  expect(await ledger.reserve(one)).toMatchObject({ status: "held" });
  await guard.watch();
  expect(await suspendedOf(tenant)).toBe("margin_guard");
});

import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { createClaimedRun, createTenant } from "../test/tenant.ts";
import { balanceOf, createKeySpender, request } from "./fixture.ts";
import { createLedger } from "./ledger.ts";
import { setLimit } from "./limits.ts";

// What is asked at once goes to the database as one transaction (group-commit.ts), so each test here is one of those.

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_test" });
await ledger.processSeen("gateway");
const balance = (workspaceId: string, level: string, scopeId: string) =>
  balanceOf(admin, { workspaceId, level, scopeId });

it("calls that come at once are each held, clamped or refused as if they came one after the other", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 1_000 });
  const { workspaceId } = tenant;
  const rich = await createClaimedRun(admin, tenant);
  const poor = await createClaimedRun(admin, tenant, { costLimitNanoUsd: 350 });
  const few = await createClaimedRun(admin, tenant, { modelCallLimit: 1 });
  const stale = await createClaimedRun(admin, tenant, { leaseMs: -1 });
  const elsewhere = await createClaimedRun(admin, await createTenant(admin));
  const asked = [rich, poor, few, poor, few, stale, elsewhere, poor, rich].map((run) =>
    request(run),
  );
  const outcomes = await Promise.all(asked.map((ask) => ledger.reserve(ask)));
  expect(
    outcomes.map((outcome) =>
      outcome.status === "held" ? [outcome.callNo, outcome.amountNanoUsd] : outcome.status,
    ),
  ).toEqual([
    [1, 200],
    [1, 200],
    [1, 200],
    [2, 150],
    "call_limit",
    "stale",
    [1, 200],
    "reserved",
    [2, 200],
  ]);
  expect(await balance(workspaceId, "workspace", workspaceId)).toMatchObject({ held: 950 });
  expect(await balance(workspaceId, "task", poor.taskId)).toMatchObject({ held: 350 });
});

it("money that one call returns is there for another that comes with it", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 250 });
  const { workspaceId } = tenant;
  const run = await createClaimedRun(admin, tenant);
  const first = request(run);
  await ledger.reserve(first);
  const settlement = { workspaceId, outcome: "settled", actualNanoUsd: 50 } as const;
  const [next, settled, again] = await Promise.all([
    ledger.reserve(request(run)),
    ledger.settle({ ...settlement, holdId: first.holdId }),
    ledger.settle({ ...settlement, holdId: first.holdId }),
  ]);
  expect(settled).toEqual({ status: "done", postedNanoUsd: 50, overrunNanoUsd: 0 });
  expect(again).toEqual({ status: "unchanged", state: "SETTLED" });
  expect(next).toMatchObject({ status: "held", amountNanoUsd: 200, maxTokens: 10 });
  expect(await balance(workspaceId, "workspace", workspaceId)).toMatchObject({
    posted: 50,
    held: 200,
  });
});

it("an API key spends the workspace's money under a level of its own, and nothing once it is revoked", async () => {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 1_000 });
  const { workspaceId } = tenant;
  const run = await createClaimedRun(admin, tenant);
  const spender = await createKeySpender(admin, tenant);
  const { apiKeyId } = spender;
  await db.withWorkspace(workspaceId, (tx) =>
    setLimit(tx, {
      meter: "model_cost",
      level: "key",
      scopeId: apiKeyId,
      amount: 350,
      actor: "test",
    }),
  );
  const asked = [1, 2].map(() => request(run, { spender }));
  const [first, second, ofRun] = await Promise.all([
    ...asked.map((ask) => ledger.reserve(ask)),
    ledger.reserve(request(run)),
  ]);
  expect(first).toEqual({ status: "held", callNo: null, amountNanoUsd: 200, maxTokens: 10 });
  expect(second).toMatchObject({ status: "held", amountNanoUsd: 150, maxTokens: 5 });
  expect(ofRun).toMatchObject({ status: "held", callNo: 1 });
  expect(await ledger.reserve(request(run, { spender }))).toMatchObject({
    status: "reserved",
    level: "key",
    scopeId: apiKeyId,
  });
  for (const { holdId } of asked)
    await ledger.settle({ workspaceId, holdId, outcome: "settled", actualNanoUsd: 30 });
  expect(await balance(workspaceId, "key", apiKeyId)).toMatchObject({ posted: 60, held: 0 });
  expect(await balance(workspaceId, "workspace", workspaceId)).toMatchObject({
    posted: 60,
    held: 200,
  });
  const wrong = { ...spender, secretHash: "0" };
  expect(await ledger.reserve(request(run, { spender: wrong }))).toEqual({ status: "stale" });
  await admin.query(`UPDATE api_keys SET revoked_at = clock_now() WHERE id = $1`, [apiKeyId]);
  expect(await ledger.reserve(request(run, { spender }))).toEqual({ status: "stale" });
});

it("a suspended workspace takes no further hold, and goes on once that is lifted; open holds are honoured", async () => {
  const tenant = await createTenant(admin);
  const { workspaceId } = tenant;
  const run = await createClaimedRun(admin, tenant);
  const other = await createClaimedRun(admin, await createTenant(admin));
  const open = request(run);
  await ledger.reserve(open);
  const suspend = (reason: string | null) =>
    admin.query(`UPDATE workspaces SET suspended = $2 WHERE workspace_id = $1`, [
      workspaceId,
      reason,
    ]);
  await suspend("operator");
  const [refused, fine] = await Promise.all([
    ledger.reserve(request(run)),
    ledger.reserve(request(other)),
  ]);
  expect(refused).toEqual({ status: "suspended", reason: "operator" });
  expect(fine).toMatchObject({ status: "held" });
  expect(
    await ledger.settle({
      workspaceId,
      holdId: open.holdId,
      outcome: "settled",
      actualNanoUsd: 10,
    }),
  ).toMatchObject({ status: "done" });
  await suspend(null);
  expect(await ledger.reserve(request(run))).toMatchObject({ status: "held" });
});

it("a suspended workspace books no further agent time, but is told what was booked; afterwards it goes on", async () => {
  const run = await createClaimedRun(admin, await createTenant(admin));
  const suspend = (reason: string | null) =>
    admin.query(`UPDATE workspaces SET suspended = $2 WHERE workspace_id = $1`, [
      run.workspaceId,
      reason,
    ]);
  const book = (bookingNo: number) => ledger.leaseAgentTime({ ...run, bookingNo, sliceMs: 5_000 });
  expect(await book(1)).toEqual({ status: "granted", ms: 5_000 });
  await suspend("margin_guard");
  expect(await book(2)).toEqual({ status: "suspended", reason: "margin_guard" });
  expect(await book(1)).toEqual({ status: "granted", ms: 5_000 });
  const { rows } = await admin.query<{ ms: string }>(
    "SELECT sum(granted_ms) AS ms FROM time_slices WHERE run_id = $1",
    [run.runId],
  );
  expect(Number(rows[0]?.ms)).toBe(5_000);
  await suspend(null);
  expect(await book(2)).toEqual({ status: "granted", ms: 5_000 });
});

import { afterEach, beforeEach, expect, it } from "vitest";
import { PRICE_VERSION } from "../../gateway/request/prices.ts";
import { request } from "../../ledger/fixture.ts";
import { createLedger } from "../../ledger/ledger.ts";
import { systemClock } from "../../platform/clock.ts";
import { createLogger } from "../../platform/log.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  type ClaimedRun,
  createClaimedRun,
  createQueuedRun,
  createTenant,
  limitTop,
  type Tenant,
} from "../../test/tenant.ts";
import type { Law } from "../rules.ts";
import { createChecker } from "./checker.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_checked" });
const log = createLogger({ level: "silent" });
const newChecker = () => createChecker({ db, clock: systemClock, log });

let tenant: Tenant;
let run: ClaimedRun;
beforeEach(async () => {
  tenant = await createTenant(admin, { costLimitNanoUsd: 1_000_000 });
  const level = { level: "owner", scopeId: tenant.billingAccountId } as const;
  await limitTop(admin, { ...level, meter: "model_cost", amount: 900_000 });
  run = await createClaimedRun(admin, tenant);
});

afterEach(async () => {
  // Damage is not for the next test.
  await admin.query(
    `DELETE FROM time_slices; DELETE FROM ledger_lines; DELETE FROM holds; DELETE FROM top_budgets; DELETE FROM budgets; DELETE FROM top_limits`,
  );
});

/** One call of 100 nano-USD under the prices of this release, and one that stays open. */
async function work(): Promise<string> {
  const ask = request(run, {
    model: "claude-haiku-5-5",
    priceVersion: PRICE_VERSION,
    outputNanoUsdPerToken: 500,
  });
  await ledger.reserve(ask);
  await ledger.settle({
    workspaceId: run.workspaceId,
    holdId: ask.holdId,
    outcome: "settled",
    actualNanoUsd: 100,
    usage: { input_tokens: 1 },
  });
  await ledger.leaseAgentTime({ ...run, bookingNo: 1, sliceMs: 1_000 });
  const open = request(run);
  await ledger.reserve(open);
  return open.holdId;
}

/** Makes everything older than the checker looks back. */
async function age(): Promise<void> {
  for (const [table, column] of [
    ["holds", "held_at"],
    ["ledger_lines", "at"],
    ["time_slices", "granted_at"],
    ["limits", "changed_at"],
  ])
    await admin.query(`UPDATE ${table} SET ${column} = ${column} - interval '1 hour'`);
}

async function brokenAfter(checker: ReturnType<typeof newChecker>): Promise<Law[]> {
  await checker.run();
  return [...checker.state().laws].flatMap(([law, ok]) => (ok ? [] : [law]));
}

it("what is new and in order keeps every law that is checked continuously", async () => {
  const checker = newChecker();
  expect(await brokenAfter(checker)).toEqual([]);
  await work();
  expect(await brokenAfter(checker)).toEqual([]);
  expect([...checker.state().laws.keys()].toSorted()).toEqual(["I10", "I2", "I3", "I4", "I5"]);
  expect(checker.state().checked).toBeGreaterThan(10);
});

it.each<[Law, string]>([
  ["I2", `UPDATE holds SET posted = posted + 1 WHERE state = 'SETTLED' AND workspace_id = $1`],
  ["I3", `UPDATE holds SET seen_limits[4] = 150 WHERE workspace_id = $1`],
  ["I3", `UPDATE budgets SET held = held + 1 WHERE level = 'workspace' AND workspace_id = $1`],
  ["I4", `UPDATE time_slices SET returned_ms = 1 WHERE workspace_id = $1`],
  [
    "I5",
    `UPDATE holds SET usage = '{"input_tokens":2}' WHERE state = 'SETTLED' AND workspace_id = $1`,
  ],
])("%s is seen to be broken in what is new: %s", async (law, damage) => {
  const checker = newChecker();
  await work();
  await admin.query(damage, [run.workspaceId]);
  expect(await brokenAfter(checker)).toContain(law);
  // It stays known when the row is no longer new.
  await age();
  expect(await brokenAfter(checker)).toContain(law);
});

it("a balance that changes by something else than new lines is seen, also when they are added meanwhile", async () => {
  const checker = newChecker();
  await work();
  await checker.run();
  await work().catch(() => undefined);
  expect(await brokenAfter(checker)).toEqual([]);
  await admin.query(
    `UPDATE budgets SET posted = posted + 5 WHERE level = 'workspace' AND meter = 'model_cost' AND workspace_id = $1`,
    [run.workspaceId],
  );
  expect(await brokenAfter(checker)).toEqual(["I4"]);
});

it("a line that commits after the look is counted at the next one, though it is older", async () => {
  const checker = newChecker();
  await work();
  const open = await work().catch(() => undefined);
  await checker.run();
  await admin.query("BEGIN");
  const { rows } = await admin.query<{ budget_ids: string[] }>(
    `SELECT budget_ids FROM holds WHERE workspace_id = $1 LIMIT 1`,
    [run.workspaceId],
  );
  const booked = rows[0]!.budget_ids;
  await admin.query(
    `INSERT INTO ledger_lines (workspace_id, meter, kind, amount, budget_ids, hold_id, run_id) VALUES ($1, 'model_cost', 'settle', 7, $2, $3, $4)`,
    [run.workspaceId, booked, open ?? "hold_x", run.runId],
  );
  await admin.query(
    `UPDATE budgets SET posted = posted + 7 WHERE workspace_id = $1 AND id = ANY ($2::bigint[])`,
    [run.workspaceId, booked],
  );
  await checker.run();
  await admin.query("COMMIT");
  expect(await brokenAfter(checker)).not.toContain("I4");
});

it("agent time that a claim books while somebody looks is counted at the next look", async () => {
  const checker = newChecker();
  await work();
  await checker.run();
  await createQueuedRun(admin, tenant);
  await admin.query("BEGIN");
  const { rows } = await admin.query<{ agent_time: object }>(
    `SELECT agent_time FROM claim('wrk_1', interval '1 minute', '{hash}', '{}', 100, 15000)`,
  );
  expect(rows[0]?.agent_time).toMatchObject({ status: "granted" });
  // Others commit meanwhile, so that the look knows of transactions behind the open one.
  await ledger.processSeen("gateway");
  await checker.run();
  await admin.query("COMMIT");
  expect(await brokenAfter(checker)).toEqual([]);
});

it("old rows are not read again: damage in them is left to the full check", async () => {
  const checker = newChecker();
  await work();
  await ledger.settle({
    workspaceId: run.workspaceId,
    holdId: (
      await admin.query<{ id: string }>(
        `SELECT id FROM holds WHERE state = 'DISPATCHED' AND workspace_id = $1`,
        [run.workspaceId],
      )
    ).rows[0]!.id,
    outcome: "provisional",
  });
  await age();
  await admin.query(
    `UPDATE holds SET posted = posted - 1 WHERE state = 'PROVISIONAL' AND workspace_id = $1`,
    [run.workspaceId],
  );
  expect(await brokenAfter(checker)).toEqual([]);
});

import { expect, it } from "vitest";
import { post, quiet, SMALL, startBoth, startRun } from "../gateway/test/gateway-fixture.ts";
import { systemClock } from "../platform/clock.ts";
import { createJobFailures } from "../platform/job-failures.ts";
import { createLogger } from "../platform/log.ts";
import { createTestDatabase } from "../test/database.ts";
import { createChecker } from "./check/checker.ts";
import { createMetrics } from "./metrics.ts";

const database = await createTestDatabase();
const log = createLogger({ level: "silent" });
const failures = createJobFailures(log);
const counts = { sent: 0, dropped: 0, received: 0, otherVersion: 0, dead: 0 };
const queue = {
  transport: { name: "postgres", counts, isConnected: () => true },
  runsPerWorker: 16,
} as const;

/** The figures, without those of the process. */
async function figures(metrics: ReturnType<typeof createMetrics>): Promise<string[]> {
  const text = await metrics.text();
  return text.split("\n").filter((line) => line.startsWith("guildhall_"));
}

it("tells what the gateway did, what is open, and what the continuous check found", async () => {
  const { url, gateway } = await startBoth(database);
  const { db } = database;
  const checker = createChecker({ db, clock: systemClock, log });
  const reconciled = { reported: 2, neverSeen: 1, loweredNanoUsd: 30, unresolved: 4 };
  const metrics = createMetrics({
    gateway,
    checker,
    reconciled,
    failures,
    queue,
    db,
    clock: systemClock,
    log,
  });
  expect(await figures(metrics)).not.toContainEqual(expect.stringContaining("law_ok"));

  const run = await startRun(database, { costLimitNanoUsd: 1_000 });
  expect((await post(url, { token: run.token, body: SMALL })).status).toBe(402);
  const rich = await startRun(database);
  expect((await post(url, { token: rich.token, body: SMALL })).status).toBe(200);
  await quiet(database, rich);
  await checker.run();

  const lines = await figures(metrics);
  for (const line of [
    'guildhall_gateway_admissions_total{outcome="held"} 1',
    'guildhall_gateway_admissions_total{outcome="exhausted"} 1',
    'guildhall_gateway_calls_total{outcome="settled"} 1',
    'guildhall_gateway_refusals_total{status="402",code="budget_exhausted"} 1',
    "guildhall_open_holds 0",
    "guildhall_settlements_pending 0",
    "guildhall_overrun_nano_usd_total 0",
    'guildhall_ledger_law_ok{law="I3"} 1',
    'guildhall_ledger_law_ok{law="I10"} 1',
    'guildhall_reconciled_total{by="absence"} 1',
    "guildhall_provisional_holds 4",
  ])
    expect(lines).toContain(line);
  expect(lines).toContainEqual(expect.stringMatching(/^guildhall_ledger_check_age_seconds \d/));

  await database.admin.query(`UPDATE holds SET posted = posted - 1 WHERE state = 'SETTLED'`);
  await checker.run();
  expect(await figures(metrics)).toContain('guildhall_ledger_law_ok{law="I2"} 0');
  await database.admin.query(`UPDATE holds SET posted = posted + 1 WHERE state = 'SETTLED'`);
});

it("a scrape while the database is away still tells what the process knows", async () => {
  const { gateway } = await startBoth(database);
  const away = { ...database.db, withPlatform: () => Promise.reject(new Error("away")) };
  const checker = createChecker({ db: away, clock: systemClock, log });
  const metrics = createMetrics({
    gateway,
    checker,
    reconciled: undefined,
    failures,
    queue,
    db: away,
    clock: systemClock,
    log,
  });
  const lines = await figures(metrics);
  expect(lines).toContain("guildhall_settlements_pending 0");
  expect(lines).toContainEqual(expect.stringMatching(/^guildhall_open_holds nan$/i));
});

it("a refused call is recorded with what it was told, an admitted one is not", async () => {
  const { db, admin } = database;
  const { recordRefusal } = await import("../ledger/refusals.ts");
  const both = await startBoth(database, {
    recordRefusal: (call) => recordRefusal(db, call),
  });
  const run = await startRun(database, { costLimitNanoUsd: 5_000 });
  for (let n = 0; n < 3; n++)
    expect((await post(both.url, { token: run.token, body: SMALL })).status).toBe(402);
  const rich = await startRun(database);
  expect((await post(both.url, { token: rich.token, body: SMALL })).status).toBe(200);
  const { rows } = await admin.query(
    `SELECT status, level, limit_amount::int AS limit, found_limit::int AS found, workspace_id FROM refusals`,
  );
  // Three in the same second are one row.
  expect(rows).toEqual([
    {
      status: "exhausted",
      level: "task",
      limit: 5_000,
      found: 5_000,
      workspace_id: run.workspaceId,
    },
  ]);
});

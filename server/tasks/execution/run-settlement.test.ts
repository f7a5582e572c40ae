import { expect, it } from "vitest";
import { createLedger } from "../../ledger/ledger.ts";
import { systemClock } from "../../platform/clock.ts";
import { type Db, databaseAway } from "../../platform/db.ts";
import { createLogger } from "../../platform/log.ts";
import { createTestDatabase } from "../../test/database.ts";
import { brokenLaws } from "../../test/run-stage.ts";
import { createQueuedRun, createTenant } from "../../test/tenant.ts";
import { claimRuns, type Claim } from "./run-claims.ts";
import { createRunEnds } from "./run-ends.ts";
import { createRunLease } from "./run-lease.ts";
import { settleOutcome, unusedTime } from "./run-settlement.ts";

const database = await createTestDatabase();
const { db, admin } = database;
const log = createLogger({ level: "silent" });

const LEASE_MS = 600_000;
const SLICE_MS = 5_000;
/** Less than half, so that it could come back twice. */
const UNUSED_MS = 2_000;

/** A claimed run with its first slice; its task has delegated something that is still open, if so. */
async function openRun(options: { hasChild: boolean }): Promise<Claim> {
  const tenant = await createTenant(admin);
  const { taskId } = await createQueuedRun(admin, tenant);
  const asked = { workerId: "wrk_settle", leaseMs: LEASE_MS, atMost: 1 };
  const [claim] = await claimRuns(db, { ...asked, agentTimeSliceMs: SLICE_MS });
  if (options.hasChild) await createQueuedRun(admin, tenant, { parentTaskId: taskId });
  return claim!;
}

/** Settles as succeeded over a database that fails the first end of a run, before it comes there or after. */
async function settle(claim: Claim, failing: "before" | "after") {
  let asked = 0;
  const troubled: Db = {
    ...db,
    async ledger(statement) {
      const isFirst = statement.name === "finish_runs" && ++asked === 1;
      if (isFirst && failing === "before") throw databaseAway();
      const rows = await db.ledger<never>(statement);
      if (isFirst) throw databaseAway();
      return rows;
    },
  };
  const ledger = createLedger({ db, processId: "wrk_settle" });
  const deps = { db: troubled, ledger, ends: createRunEnds(troubled), log };
  const sentAtMs = systemClock.monotonicMs();
  const lease = createRunLease({ clock: systemClock, leaseMs: LEASE_MS, sentAtMs });
  const unused = unusedTime(deps, claim, UNUSED_MS);
  const outcome = { status: "succeeded", result: "done" } as const;
  const end = await settleOutcome(deps, { claim, lease }, { outcome, unused });
  lease.close();
  const { rows } = await admin.query<{ state: string; paid: number }>(
    `SELECT t.state, (SELECT sum(s.granted_ms - s.returned_ms)::int FROM time_slices s WHERE s.run_id = $2) AS paid FROM tasks t WHERE t.id = $1`,
    [claim.taskId, claim.runId],
  );
  return { asked, ended: end.ended, ...rows[0] };
}

it.each([
  ["alone", false],
  ["with an open child", true],
])("a run %s ends and gives its time back when the database is back", async (_who, hasChild) => {
  const claim = await openRun({ hasChild });
  const told = { asked: 2, ended: true, state: "succeeded", paid: SLICE_MS - UNUSED_MS };
  expect(await settle(claim, "before")).toEqual(told);
  expect(await brokenLaws(database)).toEqual([]);
});

it("a run whose end was written but not answered gives its time back once", async () => {
  const claim = await openRun({ hasChild: false });
  const told = { asked: 2, ended: false, state: "succeeded", paid: SLICE_MS - UNUSED_MS };
  expect(await settle(claim, "after")).toEqual(told);
  expect(await brokenLaws(database)).toEqual([]);
});

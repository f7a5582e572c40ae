import { expect, it } from "vitest";
import { request } from "../../ledger/fixture.ts";
import { setPlan } from "../../ledger/plan-terms.ts";
import { type PlanName, plans } from "../../ledger/plans.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  brokenLaws,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startJobs,
  startWorker,
  taskReaches,
} from "../../test/run-stage.ts";
import { createClaimedRun } from "../../test/tenant.ts";

const database = await createTestDatabase();
const { db, admin } = database;

it("a downgrade in the middle of a run pauses it, an upgrade lets it end, and nothing is paid for twice", async () => {
  const stage = await openStage(database, { latency: { firstByteMs: 0, perEventMs: 20 } });
  const tenant = await openWorkspace(database, { plan: "pro" });
  const { workspaceId } = tenant;
  const putOn = (plan: PlanName) =>
    db.withPlatform((tx) => setPlan(tx, { workspaceId, plan, actor: "system", origin: "test" }));
  await putOn("pro");
  // What the smaller plan includes is used up already.
  const earlier = await createClaimedRun(admin, tenant);
  const used = request(earlier, {
    inputNanoUsd: plans.free.modelCostNanoUsd ?? 0,
    outputNanoUsdPerToken: 0,
  });
  expect(await stage.ledger.reserve(used)).toMatchObject({ status: "held" });
  await stage.ledger.settle({
    workspaceId,
    holdId: used.holdId,
    outcome: "settled",
    actualNanoUsd: used.inputNanoUsd,
  });

  const { taskId, runId } = await giveTask(database, {
    stage,
    tenant,
    prompt: "Profile these CSV files and write report.md",
    inputs: { "sales.csv": salesCsv },
  });
  startJobs(stage);
  startWorker(stage);
  // The first call is on its way.
  await expect
    .poll(
      async () =>
        (
          await admin.query("SELECT 1 FROM holds WHERE run_id = $1 AND state = 'DISPATCHED'", [
            runId,
          ])
        ).rowCount,
      { timeout: 20_000, interval: 5 },
    )
    .toBe(1);
  await putOn("free");
  const { parked } = await taskReaches(database, taskId, "paused", "failed", "succeeded");
  expect(parked).toMatchObject({
    kind: "limit",
    meter: "model_cost",
    level: "workspace",
    limit: plans.free.modelCostNanoUsd,
  });
  // The call that was open is paid for as usual.
  const { rows } = await admin.query<{ state: string }>(
    "SELECT DISTINCT state FROM holds WHERE run_id = $1",
    [runId],
  );
  expect(rows).toEqual([{ state: "SETTLED" }]);

  await putOn("pro");
  const task = await taskReaches(database, taskId, "succeeded", "failed");
  expect(task.state).toBe("succeeded");
  const steps = await admin.query("SELECT 1 FROM steps WHERE run_id = $1 AND kind = 'model'", [
    runId,
  ]);
  expect(stage.simulator.meter.report().totals.billed_calls).toBe(steps.rowCount);
  await admin.query("SELECT end_task($1, $2, 'cancelled', NULL, NULL, '{}')", [
    workspaceId,
    earlier.taskId,
  ]);
  expect(await brokenLaws(database)).toEqual([]);
});

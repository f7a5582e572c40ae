import type pg from "pg";
import {
  createClaimedRun,
  createTenant,
  limitTop,
  type ClaimedRun,
} from "../../server/test/tenant.ts";
import type { BenchDatabase } from "../database.ts";

const DAY_MS = 86_400_000;
/** $1,000: money that no round uses up. */
export const PLENTY_NANO_USD = 1_000_000_000_000;

export type StageOptions = {
  workspaces: number;
  runsEach: number;
  /** Of each workspace; every other level has plenty. */
  costLimitNanoUsd?: number;
};

/** Workspaces with running tasks, and a limit on each of the six levels: run by its task, agent, workspace, payer, platform. */
export async function setStage(
  database: BenchDatabase,
  options: StageOptions,
): Promise<ClaimedRun[][]> {
  const { admin } = database;
  await limitTop(admin, {
    level: "platform",
    scopeId: "platform",
    meter: "model_cost",
    amount: PLENTY_NANO_USD * 1_000,
  });
  const stage: ClaimedRun[][] = [];
  for (let n = 0; n < options.workspaces; n++) stage.push(await setWorkspace(admin, options));
  // Not the tables that are empty still: a planner that is told so thinks for a minute that every index is as good.
  await admin.query("ANALYZE workspaces, tasks, runs, attempts, limits, top_limits");
  return stage;
}

async function setWorkspace(admin: pg.Client, options: StageOptions): Promise<ClaimedRun[]> {
  const costLimitNanoUsd = options.costLimitNanoUsd ?? PLENTY_NANO_USD;
  const tenant = await createTenant(admin, { costLimitNanoUsd });
  await admin.query(
    `INSERT INTO limits (workspace_id, meter, level, scope_id, version, amount, changed_by) VALUES ($1, 'model_cost', 'agent', $2, 1, $3, 'bench')`,
    [tenant.workspaceId, tenant.agentId, PLENTY_NANO_USD],
  );
  await limitTop(admin, {
    level: "owner",
    scopeId: tenant.billingAccountId,
    meter: "model_cost",
    amount: PLENTY_NANO_USD,
  });
  const runs: ClaimedRun[] = [];
  for (let n = 0; n < options.runsEach; n++)
    runs.push(
      await createClaimedRun(admin, tenant, {
        costLimitNanoUsd: PLENTY_NANO_USD,
        modelCallLimit: 100_000_000,
        leaseMs: DAY_MS,
      }),
    );
  return runs;
}

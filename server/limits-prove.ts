import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seedAgents } from "./agents/agents.ts";
import { ensureLocalWorkspace } from "./identity/local-workspace.ts";
import { openInstallation, type Installation } from "./installation.ts";
import { prove } from "./operator/prove/prove.ts";
import type { Proof } from "./operator/prove/proof.ts";
import { readConfig } from "./platform/config.ts";
import { localPlan } from "./local-plan.ts";
import { invariant } from "./platform/errors.ts";
import { newId } from "./platform/ids.ts";
import { createLogger } from "./platform/log.ts";
import { deriveSecret } from "./platform/secret.ts";
import { claimRuns } from "./tasks/execution/run-claims.ts";
import { createTask } from "./tasks/task-creation.ts";

export type LimitsProveOptions = {
  agents: number;
  budgetNanoUsd: number;
  seconds: number;
  killEveryMs: number;
  seed: number;
  onProgress(line: string): void;
};

const MODEL = "claude-sonnet-5-5";
const LEASE_MS = 24 * 3_600_000;

/** A workspace with the budget, and one claimed run per agent: tasks and leases as the product makes them. */
async function setTheStage(
  { db }: Installation,
  options: LimitsProveOptions,
): Promise<{ workspaceId: string; tokens: string[] }> {
  const { workspaceId } = await ensureLocalWorkspace({
    db,
    openPlan: localPlan(options.budgetNanoUsd),
    seedAgents: (tx, id) => seedAgents(tx, { workspaceId: id, model: MODEL }),
  });
  const caller = { workspaceId, actor: "system", origin: "limits prove" };
  const body = {
    agent: "gray",
    prompt: "Spend what there is.",
    limits: { cost_nano_usd: 1_000_000_000_000, model_calls: 10_000 },
  };
  for (let made = 0; made < options.agents; made += 50)
    await db.withWorkspace(workspaceId, async (tx) => {
      for (let n = made; n < Math.min(made + 50, options.agents); n++)
        await createTask(tx, { caller, body });
    });
  const claims = await claimRuns(db, {
    workerId: newId("wrk"),
    leaseMs: LEASE_MS,
    atMost: options.agents,
  });
  invariant(claims.length === options.agents, `${claims.length} runs were claimed`);
  return { workspaceId, tokens: claims.map((claim) => claim.token.reveal()) };
}

/** A gateway has the rights of the ledger's role, and no others. */
function gatewayAccess({ ownerUrl, rootSecret }: Installation) {
  const { hostname, port, pathname } = new URL(ownerUrl);
  return {
    gatewayDatabase: { host: hostname, port: Number(port), database: pathname.slice(1) },
    gatewayPassword: deriveSecret(rootSecret, "database-role:guildhall_ledger"),
  };
}

/**
 * `guildhall limits prove`: an installation of its own in a temporary folder, which nothing else uses and nothing is
 * left of, for a demonstration of the limits against the simulated model.
 */
export async function proveLimits(options: LimitsProveOptions): Promise<Proof> {
  const dataDir = await mkdtemp(join(tmpdir(), "guildhall-prove-"));
  // As root the database runs as another user, who must be able to enter.
  await chmod(dataDir, 0o755);
  const log = createLogger({ level: "fatal" });
  let installation: Installation | undefined;
  try {
    // Nothing of the caller's own installation: no database, no provider, no key.
    installation = await openInstallation(readConfig({ GUILDHALL_DATA_DIR: dataDir }), log);
    const { db } = installation;
    const stage = await setTheStage(installation, options);
    return await prove({
      ...options,
      ...stage,
      db,
      log,
      cacheDir: join(dataDir, "compile-cache"),
      ...gatewayAccess(installation),
    });
  } finally {
    await installation?.close();
    await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
  }
}

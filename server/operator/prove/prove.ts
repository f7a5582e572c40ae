import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { createLedger, type Ledger } from "../../ledger/ledger.ts";
import { closeAll } from "../../platform/close-all.ts";
import type { Db, DbAddress } from "../../platform/db.ts";
import { newId } from "../../platform/ids.ts";
import type { Logger } from "../../platform/log.ts";
import { createReconcile } from "../reconcile.ts";
import { createSimulatedUsageReport } from "../usage-report.ts";
import { type Board, startAgents } from "./agents.ts";
import { startChild } from "./child.ts";
import { type Gateways, startGateways } from "./gateways.ts";
import { judgeProof, ledgerFigures, type Proof } from "./proof.ts";
import { createRandom } from "./random.ts";

export type ProveOptions = {
  db: Db;
  log: Logger;
  /** How the gateways reach the database: with the rights of a gateway, no more. */
  gatewayDatabase: DbAddress;
  gatewayPassword: string;
  workspaceId: string;
  /** Model budget of the workspace, nano-USD. */
  budgetNanoUsd: number;
  /** One run token per agent. */
  tokens: readonly string[];
  seconds: number;
  /** A folder for compiled code, which may be thrown away. */
  cacheDir: string;
  killEveryMs: number;
  seed: number;
  /** Told once a second what is going on. */
  onProgress(line: string): void;
};

/** One or two live while another is killed and starts again, and all race for the same dollar. */
const GATEWAYS = 3;
const BUDGET_WAIT_MS = 3_000;
const STEP_MS = 250;
/** After the storm: the longest that the rest of the budget may take. */
const CALM_LIMIT_MS = 15 * 60_000;
const PROVIDER = { firstByteMs: 60, perEventMs: 4 };
const REAP = { deadAfterMs: 15_000, heldForMs: 60_000, atMost: 2_000 };

const usageReport = z.object({
  totals: z.object({ calls: z.int(), billed_calls: z.int(), cost_nano_usd: z.int() }),
});

/** The platform's own work during the demonstration: what the dead have left is charged in full, then reconciled. */
function createUpkeep(
  options: ProveOptions,
  input: { ledger: Ledger; providerUrl: string; board: Board },
) {
  const { db, log, workspaceId } = options;
  const { board, ledger } = input;
  const report = createSimulatedUsageReport(input.providerUrl);
  const reconcile = createReconcile({ db, ledger, report, log });
  let highest = 0;
  return {
    totals: reconcile.totals,
    highest: () => highest,
    async step() {
      await ledger.reapHolds(REAP);
      const round = await reconcile.run();
      if (round.reported + round.neverSeen > 0) board.returns += 1;
      const figures = await ledgerFigures(db, workspaceId);
      highest = Math.max(highest, figures.posted_nano_usd + figures.held_nano_usd);
      return figures;
    },
  };
}

async function storm(
  options: ProveOptions,
  parts: { gateways: Gateways; upkeep: ReturnType<typeof createUpkeep> },
): Promise<void> {
  const { gateways, upkeep } = parts;
  const begun = performance.now();
  const until = begun + options.seconds * 1_000;
  let saidAt = begun;
  async function killers(): Promise<void> {
    for (
      let next = options.killEveryMs;
      next < options.seconds * 1_000;
      next += options.killEveryMs
    ) {
      await delay(Math.max(0, begun + next - performance.now()));
      await gateways.killOne();
    }
  }
  async function keepUp(): Promise<void> {
    while (performance.now() < until) {
      const figures = await upkeep.step();
      if (performance.now() - saidAt >= 1_000) {
        saidAt = performance.now();
        options.onProgress(
          `${Math.max(0, Math.ceil((until - saidAt) / 1_000))} s left: $${(figures.posted_nano_usd / 1e9).toFixed(4)} posted, $${(figures.held_nano_usd / 1e9).toFixed(4)} held, ${figures.provisional_holds} provisional, ${gateways.killed()} gateways killed`,
        );
      }
      await delay(STEP_MS);
    }
  }
  await Promise.all([killers(), keepUp()]);
}

/** Until every agent was told twice in a row that there is no money, with nothing left that could return. */
async function calm(
  options: ProveOptions,
  parts: { upkeep: ReturnType<typeof createUpkeep>; resting(): number },
): Promise<void> {
  const until = performance.now() + CALM_LIMIT_MS;
  let saidAt = 0;
  while (performance.now() < until) {
    const figures = await parts.upkeep.step();
    const open = figures.held_nano_usd > 0 || figures.provisional_holds > 0;
    if (!open && parts.resting() === options.tokens.length) return;
    if (performance.now() - saidAt >= 1_000) {
      saidAt = performance.now();
      options.onProgress(
        `after the storm: $${(figures.posted_nano_usd / 1e9).toFixed(4)} posted, ${figures.provisional_holds} provisional, ${parts.resting()} agents have given up`,
      );
    }
    await delay(STEP_MS);
  }
}

/**
 * Lets many agents race for one budget through gateways that are killed, then lets them use it up, and asks the
 * provider's own meter what it cost. Everything is real but the model: HTTP, streams, processes, the database.
 */
export async function prove(options: ProveOptions): Promise<Proof> {
  const { db, budgetNanoUsd, seed } = options;
  const closers: (() => Promise<unknown>)[] = [];
  const ledger = createLedger({ db, processId: newId("wrk") });
  try {
    const script = new URL("provider-process.ts", import.meta.url);
    const provider = await startChild({
      script,
      settings: { seed: String(seed), ...PROVIDER },
      cacheDir: options.cacheDir,
    });
    closers.unshift(() => provider.kill());
    const { url: providerUrl } = z.object({ url: z.string() }).parse(provider.ready);
    const gateways = await startGateways({
      count: GATEWAYS,
      settings: {
        database: options.gatewayDatabase,
        password: options.gatewayPassword,
        upstreamUrl: providerUrl,
        budgetWaitMs: BUDGET_WAIT_MS,
      },
      cacheDir: options.cacheDir,
      onEnded: (processId) => ledger.processEnded(processId),
      onFailed: (error) => options.onProgress(`a gateway did not start: ${String(error)}`),
    });
    closers.unshift(() => gateways.close());
    const board: Board = { urls: () => gateways.urls(), storm: true, returns: 0, over: false };
    const upkeep = createUpkeep(options, { ledger, providerUrl, board });
    const agents = startAgents({ tokens: options.tokens, board, random: createRandom(seed) });
    closers.unshift(() => {
      board.over = true;
      return agents.ended;
    });
    await storm(options, { gateways, upkeep });
    board.storm = false;
    await calm(options, { upkeep, resting: agents.resting });
    board.over = true;
    await agents.ended;
    const figures = await upkeep.step();
    const { totals } = usageReport.parse(await (await fetch(`${providerUrl}/sim/usage`)).json());
    return await judgeProof(db, {
      agents: options.tokens.length,
      seconds: options.seconds,
      seed,
      budget_nano_usd: budgetNanoUsd,
      provider: {
        requests: totals.calls,
        billed: totals.billed_calls,
        cost_nano_usd: totals.cost_nano_usd,
      },
      ledger: figures,
      highest_nano_usd: upkeep.highest(),
      gateways_killed: gateways.killed(),
      calls: agents.ends,
      reconciled: {
        reported: upkeep.totals.reported,
        neverSeen: upkeep.totals.neverSeen,
        loweredNanoUsd: upkeep.totals.loweredNanoUsd,
      },
    });
  } finally {
    await closeAll(closers);
  }
}

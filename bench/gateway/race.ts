import { startBenchPostgres, type BenchDatabase } from "../database.ts";
import { printTable } from "../figures.ts";
import { setStage } from "../holds/stage.ts";
import { startOwnFile, type OwnProcess } from "../processes.ts";
import type { ProviderMeter } from "../provider/instant-provider.ts";
import { startPeers } from "./peers.ts";
import { createLoad, type Load, type Target } from "./target.ts";

const CALLS = 200;
const ROUNDS = 3;
const BUDGET_USD = 1;
const RUNS = 20;
const MAX_TOKENS = 2_000;
const OUTPUT_TOKENS = 1_300;
const DELAY_MS = 200;
// Of MODEL, per token.
const INPUT_USD = 3 / 1e6;
const OUTPUT_USD = 15 / 1e6;

type Racer = {
  name: string;
  hasBudget: boolean;
  /** A target with a budget of its own for each round, where there are budgets. */
  targetOf(round: number): Promise<Target> | Target;
};

async function chargedUsd(providerUrl: string): Promise<number> {
  const meter = (await (await fetch(providerUrl)).json()) as ProviderMeter;
  return meter.inputTokens * INPUT_USD + meter.outputTokens * OUTPUT_USD;
}

/** All calls at once. -> what the provider charged for, by its own meter */
async function runRace(load: Load, options: { racer: Racer; round: number; providerUrl: string }) {
  const { racer, round, providerUrl } = options;
  const target = await racer.targetOf(round);
  const before = await chargedUsd(providerUrl);
  const shape = {
    stream: false,
    maxTokens: MAX_TOKENS,
    words: `bench-output-${OUTPUT_TOKENS}-tokens bench-delay-${DELAY_MS}-ms`,
  };
  const answers = await Promise.all(
    Array.from({ length: CALLS }, (_, n) => load.call(target, round * CALLS + n, shape)),
  );
  const count = (of: (status: number) => boolean): number =>
    answers.filter(({ status }) => of(status)).length;
  return {
    answered: count((status) => status === 200),
    refused: count((status) => status >= 400 && status < 500),
    failed: count((status) => status >= 500),
    usd: (await chargedUsd(providerUrl)) - before,
  };
}

function ours(database: BenchDatabase, url: string): Racer {
  return {
    name: "Guildhall gateway",
    hasBudget: true,
    async targetOf() {
      const costLimitNanoUsd = BUDGET_USD * 1e9;
      const [runs = []] = await setStage(database, {
        workspaces: 1,
        runsEach: RUNS,
        costLimitNanoUsd,
      });
      const headersOf = (n: number) => ({ "x-api-key": runs[n % RUNS]!.token });
      return { name: "Guildhall gateway", url, headersOf };
    },
  };
}

async function raceAll(load: Load, racers: readonly Racer[], providerUrl: string): Promise<void> {
  const rows = [];
  for (const racer of racers) {
    const rounds = [];
    for (let round = 0; round < ROUNDS; round++)
      rounds.push(await runRace(load, { racer, round, providerUrl }));
    const most = rounds.toSorted((a, b) => b.usd - a.usd)[0]!;
    const leastUsd = Math.min(...rounds.map(({ usd }) => usd));
    rows.push({
      what: racer.name,
      answered: String(most.answered),
      refused: String(most.refused),
      "provider charged": `$${most.usd.toFixed(4)}`,
      "beyond the dollar": `$${Math.max(0, most.usd - BUDGET_USD).toFixed(4)}`,
      "least used of it": racer.hasBudget ? `${((100 * leastUsd) / BUDGET_USD).toFixed(1)} %` : "",
      "failed, all rounds": String(rounds.reduce((sum, { failed }) => sum + failed, 0)),
    });
  }
  printTable(rows);
  console.log(
    "\nTarget: nothing beyond the dollar. The least used is that of any round; the rest is of the round that spent most.",
  );
}

/** Two hundred calls at once, each worth some two cents, for the last dollar: what the provider's own meter says. */
export async function benchRace(): Promise<void> {
  const postgres = await startBenchPostgres();
  const load = createLoad({ connections: CALLS });
  const processes: OwnProcess[] = [];
  try {
    const provider = await startOwnFile(
      new URL("../provider/provider-process.ts", import.meta.url),
      [],
    );
    processes.push(provider);
    const database = await postgres.createDatabase("bench_race");
    const gateway = await startOwnFile(new URL("guildhall-process.ts", import.meta.url), [
      JSON.stringify({ address: database.address, upstreamUrl: provider.url }),
    ]);
    processes.push(gateway);
    const peers = await startPeers(provider.url);
    processes.push(...peers);
    const racers = peers.map(({ target, targetWithBudget }): Racer => ({
      name: targetWithBudget ? target.name : `${target.name} (has no budget)`,
      hasBudget: targetWithBudget !== undefined,
      targetOf: (round) => targetWithBudget?.(BUDGET_USD, round) ?? target,
    }));
    await raceAll(load, [ours(database, gateway.url), ...racers], provider.url);
  } finally {
    await load.close();
    await Promise.all(processes.map((own) => own.close()));
    await postgres.close();
  }
}

import type { BenchPostgres } from "../database.ts";
import { printTable, takeTurns } from "../figures.ts";
import { fillLedger } from "./fill-ledger.ts";
import { openLedgerDoor } from "./ledger-door.ts";
import { ledgerTurns } from "./ledger-turns.ts";
import { setStage } from "./stage.ts";

const WORKSPACES = 100;
const ROUNDS = 5;
const ROUND_MS = 2_000;
const CALLERS = 64;

/** What a hold costs while `lines` ledger lines are stored, beside a second database of the same server without any. */
export async function benchStoredLines(postgres: BenchPostgres, lines: number): Promise<void> {
  async function prepare(name: string) {
    const database = await postgres.createDatabase(name);
    const door = await openLedgerDoor(database);
    const stage = await setStage(database, { workspaces: WORKSPACES, runsEach: 1 });
    const runs = stage.flat();
    // One settled call each: it opens the balances.
    for (const run of runs) await door.settle((await door.hold(run))!);
    return { database, door, runs };
  }
  const turns = ({ door, runs }: Awaited<ReturnType<typeof prepare>>, name: string) =>
    ledgerTurns(door, {
      name,
      callers: CALLERS,
      forMs: ROUND_MS,
      pick: (n) => runs[n % runs.length]!,
    });
  const empty = await prepare("bench_empty");
  const full = await prepare("bench_full");
  const begun = performance.now();
  const stored = await fillLedger(full.database.admin, { runs: full.runs, lines });
  const seconds = Math.round((performance.now() - begun) / 1_000);
  console.log(`\n### ${stored} ledger lines stored (${seconds} s to make them)\n`);
  const taken = await takeTurns(
    [...turns(empty, "empty ledger"), ...turns(full, `${stored} lines`)],
    ROUNDS,
  );
  printTable(
    taken.map(({ name, figures }, n) => ({
      what: n % 2 === 0 ? `${name}: holds` : name,
      "per second": figures.perSecond,
      "p50 ms": figures.p50Ms,
      "p99 ms": figures.p99Ms,
      "cost, ratio to empty": taken[n % 2]!.figures.perSecond / figures.perSecond,
    })),
  );
  console.log("\nTarget: a hold costs at most 1.2 times what it costs with an empty ledger.");
}

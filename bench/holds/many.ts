import type { BenchPostgres } from "../database.ts";
import { measure, printTable, takeTurns } from "../figures.ts";
import { openLedgerDoor } from "./ledger-door.ts";
import { ledgerTurns } from "./ledger-turns.ts";
import { openPlainUpdate } from "./plain-update.ts";
import { setStage } from "./stage.ts";

const ROUNDS = 5;
const ROUND_MS = 2_000;
const CALLERS = 256;
const WORKSPACES = 1_000;
const CONNECTIONS = 10;
const IN_ONE_STATEMENT = 64;

/** Durable holds spread over many workspaces beside one-level UPDATEs spread over as many rows. */
export async function benchManyHolds(postgres: BenchPostgres): Promise<void> {
  const database = await postgres.createDatabase("bench_many");
  const door = await openLedgerDoor(database);
  const stage = await setStage(database, { workspaces: WORKSPACES, runsEach: 1 });
  const plain = await openPlainUpdate(database, {
    table: "plain",
    accounts: WORKSPACES,
    connections: CONNECTIONS,
  });
  const taken = await takeTurns(
    [
      ...ledgerTurns(door, {
        name: "ledger, six levels",
        callers: CALLERS,
        forMs: ROUND_MS,
        pick: (n) => stage[n % WORKSPACES]![0]!,
      }),
      {
        name: "one UPDATE per call, one level",
        async round() {
          const round = await measure({ callers: CALLERS, forMs: ROUND_MS }, (n) =>
            plain.hold(n % WORKSPACES),
          );
          await plain.release();
          return round;
        },
      },
      {
        name: `${IN_ONE_STATEMENT} accounts in one UPDATE, one level`,
        async round() {
          const callers = Math.ceil(CALLERS / IN_ONE_STATEMENT);
          const round = await measure({ callers, forMs: ROUND_MS }, (n) =>
            plain.holdSeveral(
              Array.from(
                { length: IN_ONE_STATEMENT },
                (_, i) => (n * IN_ONE_STATEMENT + i) % WORKSPACES,
              ),
            ),
          );
          await plain.release();
          return { ...round, perSecond: round.perSecond * IN_ONE_STATEMENT };
        },
      },
    ],
    ROUNDS,
  );
  await plain.close();
  const single = taken[2]!.figures.perSecond;
  console.log(`\n### ${WORKSPACES} workspaces, ${CALLERS} callers\n`);
  printTable(
    taken.map(({ name, figures }) => ({
      what: name,
      "per second": figures.perSecond,
      "p50 ms": figures.p50Ms,
      "p99 ms": figures.p99Ms,
      "ratio to one UPDATE per call": figures.perSecond / single,
    })),
  );
  console.log("\nTarget: the ledger's holds at least 0.5 times one UPDATE per call.");
}

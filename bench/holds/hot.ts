import type { BenchDatabase, BenchPostgres } from "../database.ts";
import { measure, printTable, takeTurns } from "../figures.ts";
import { HOLD_NANO_USD, openLedgerDoor, type LedgerDoor } from "./ledger-door.ts";
import { ledgerTurns } from "./ledger-turns.ts";
import { openPlainUpdate } from "./plain-update.ts";
import { setStage } from "./stage.ts";

const ROUNDS = 5;
const ROUND_MS = 2_000;
const CALLERS = [64, 256];
const RUNS = 16;
/** The ratio is to the better of these: more connections wait for the one row, fewer leave it idle. */
const PEER_CONNECTIONS = [10, 32];
const RACES = 5;
const RACE_CALLERS = 256;
const RACE_FITS = 1_000;

type Row = Record<string, string | number>;

async function compare(
  database: BenchDatabase,
  options: { door: LedgerDoor; callers: number },
): Promise<Row[]> {
  const { door, callers } = options;
  const [runs = []] = await setStage(database, { workspaces: 1, runsEach: RUNS });
  const peers = await Promise.all(
    PEER_CONNECTIONS.map(async (connections) => {
      const table = `plain_${callers}_${connections}`;
      return {
        connections,
        plain: await openPlainUpdate(database, { table, accounts: 1, connections }),
      };
    }),
  );
  const taken = await takeTurns(
    [
      ...ledgerTurns(door, {
        name: "ledger, six levels",
        callers,
        forMs: ROUND_MS,
        pick: (n) => runs[n % RUNS]!,
      }),
      ...peers.map(({ connections, plain }) => ({
        name: `one UPDATE per call, one level, ${connections} connections`,
        async round() {
          const round = await measure({ callers, forMs: ROUND_MS }, () => plain.hold(0));
          await plain.release();
          return round;
        },
      })),
    ],
    ROUNDS,
  );
  await Promise.all(peers.map(({ plain }) => plain.close()));
  const best = Math.max(...taken.slice(2).map(({ figures }) => figures.perSecond));
  return taken.map(({ name, figures }) => ({
    what: name,
    callers: String(callers),
    "per second": figures.perSecond,
    "p50 ms": figures.p50Ms,
    "p99 ms": figures.p99Ms,
    "ratio to the better UPDATE": figures.perSecond / best,
  }));
}

/** Many callers race for money that is enough for half of them. */
async function race(database: BenchDatabase, door: LedgerDoor): Promise<void> {
  const limit = RACE_FITS * HOLD_NANO_USD + HOLD_NANO_USD / 2;
  const beyond: number[] = [];
  for (let n = 0; n < RACES; n++) {
    const [runs = []] = await setStage(database, {
      workspaces: 1,
      runsEach: RUNS,
      costLimitNanoUsd: limit,
    });
    let admitted = 0;
    await measure({ callers: RACE_CALLERS, count: RACE_FITS * 2 }, async (n) => {
      if (await door.hold(runs[n % RUNS]!)) admitted += HOLD_NANO_USD;
    });
    beyond.push(admitted - limit);
  }
  console.log(
    `\nOvershoot when ${RACE_CALLERS} callers race for the last ${RACE_FITS} holds, ${RACES} times: ${Math.max(0, ...beyond)} nano-USD. Left unused at most ${-Math.min(...beyond)} nano-USD (a hold is ${HOLD_NANO_USD}).`,
  );
}

/** Durable holds on one workspace beside one UPDATE per call on one row. */
export async function benchHotHolds(postgres: BenchPostgres): Promise<void> {
  const database = await postgres.createDatabase("bench_hot");
  const door = await openLedgerDoor(database);
  console.log("\n### One hot workspace\n");
  const rows: Row[] = [];
  for (const callers of CALLERS) rows.push(...(await compare(database, { door, callers })));
  printTable(rows);
  console.log(
    "\nTarget: the ledger's holds at least 10 times one UPDATE per call, p99 at most 10 ms.",
  );
  await race(database, door);
}

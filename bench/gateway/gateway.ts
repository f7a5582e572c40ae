import { startBenchPostgres, type BenchDatabase } from "../database.ts";
import { measure, percentile, printTable, takeTurns, type Contestant } from "../figures.ts";
import { setStage } from "../holds/stage.ts";
import { startOwnFile, type OwnProcess } from "../processes.ts";
import { startPeers } from "./peers.ts";
import { createLoad, eventsIn, type CallShape, type Load, type Target } from "./target.ts";

const ROUNDS = 5;
const ROUND_MS = 3_000;
const CALLERS = 64;
const RUNS = 64;
const EVENTS = 42;
const PACED_STREAMS = 50;
const PACED_EACH = 4;
const PACE_MS = 20;

/** Calls with so many callers at once, as long as a round lasts. */
function throughput(load: Load, target: Target, shape: CallShape): Contestant {
  let next = 0;
  return {
    name: target.name,
    round: () =>
      measure({ callers: CALLERS, forMs: ROUND_MS }, async () => {
        const { status, body } = await load.call(target, next++, shape);
        if (status !== 200) throw new Error(`${target.name} answered ${status}: ${body}`);
        if (shape.stream && eventsIn(body) !== EVENTS)
          throw new Error(`${target.name} passed ${eventsIn(body)} of ${EVENTS} events on`);
      }),
  };
}

/** Streams that last a while, so many open at any time and spread over it. The figures are of the first bytes. */
function pacedStreams(load: Load, target: Target): Contestant {
  const streamMs = PACE_MS * (EVENTS - 1);
  let next = 0;
  return {
    name: target.name,
    async round() {
      const firstBytesMs: number[] = [];
      const begun = performance.now();
      await Promise.all(
        Array.from({ length: PACED_STREAMS }, async (_, place) => {
          await new Promise((resolve) => setTimeout(resolve, (place * streamMs) / PACED_STREAMS));
          for (let n = 0; n < PACED_EACH; n++) {
            const shape = { stream: true, paceMs: PACE_MS };
            const { status, body, firstByteMs } = await load.call(target, next++, shape);
            if (status !== 200) throw new Error(`${target.name} answered ${status}: ${body}`);
            firstBytesMs.push(firstByteMs);
          }
        }),
      );
      return {
        perSecond: (firstBytesMs.length * 1_000) / (performance.now() - begun),
        p50Ms: percentile(firstBytesMs, 0.5),
        p99Ms: percentile(firstBytesMs, 0.99),
      };
    },
  };
}

/** Our gateway with one workspace, as one process; its target with all runs, and with one. */
async function startOurs(
  database: BenchDatabase,
  upstreamUrl: string,
): Promise<{ own: OwnProcess; targets: [manyRuns: Target, oneRun: Target] }> {
  const [runs = []] = await setStage(database, { workspaces: 1, runsEach: RUNS });
  const own = await startOwnFile(new URL("guildhall-process.ts", import.meta.url), [
    JSON.stringify({ address: database.address, upstreamUrl }),
  ]);
  const { url } = own;
  return {
    own,
    targets: [
      {
        name: `Guildhall gateway, ${RUNS} runs of a workspace`,
        url,
        headersOf: (n) => ({ "x-api-key": runs[n % RUNS]!.token }),
      },
      {
        name: "Guildhall gateway, one run",
        url,
        headersOf: () => ({ "x-api-key": runs[0]!.token }),
      },
    ],
  };
}

type Comparison = {
  title: string;
  unit: string;
  contestants: Contestant[];
  /** Beside the figures of a row: what counts, from those of all. */
  compare(row: { perSecond: number; p50Ms: number }, all: Standings): Record<string, number>;
  target: string;
};
type Standings = { direct: { p50Ms: number }; portkey: { perSecond: number; p50Ms: number } };

async function print(comparison: Comparison): Promise<void> {
  const taken = await takeTurns(comparison.contestants, ROUNDS);
  const figuresOf = (name: string) => {
    const found = taken.find((row) => row.name === name);
    return found?.figures ?? { perSecond: Number.NaN, p50Ms: Number.NaN, p99Ms: Number.NaN };
  };
  const standings = { direct: figuresOf(DIRECT), portkey: figuresOf("Portkey gateway") };
  console.log(`\n### ${comparison.title}\n`);
  printTable(
    taken.map(({ name, figures }) => ({
      what: name,
      [comparison.unit]: figures.perSecond,
      "p50 ms": figures.p50Ms,
      "p99 ms": figures.p99Ms,
      ...comparison.compare(figures, standings),
    })),
  );
  console.log(`\nTarget: ${comparison.target}`);
}

const DIRECT = "provider called directly";

async function compareAll(load: Load, targets: readonly Target[]): Promise<void> {
  const toPortkey: Comparison["compare"] = (row, { portkey }) => ({
    "ratio to Portkey": row.perSecond / portkey.perSecond,
  });
  await print({
    title: `Non-streaming, ${CALLERS} callers`,
    unit: "requests/s",
    contestants: targets.map((target) => throughput(load, target, { stream: false })),
    compare: toPortkey,
    target: "at least 4 times the Portkey gateway.",
  });
  await print({
    title: `Streams of ${EVENTS} events, ${CALLERS} callers`,
    unit: "streams/s",
    contestants: targets.map((target) => throughput(load, target, { stream: true })),
    compare: toPortkey,
    target: "at least 3 times the Portkey gateway.",
  });
  await print({
    title: `First byte of ${PACED_STREAMS} paced streams, an event every ${PACE_MS} ms`,
    unit: "streams/s",
    contestants: targets.map((target) => pacedStreams(load, target)),
    compare: (row, { direct, portkey }) => ({
      "added p50 ms": row.p50Ms - direct.p50Ms,
      "ratio to Portkey": (row.p50Ms - direct.p50Ms) / (portkey.p50Ms - direct.p50Ms),
    }),
    target: "at most 5 ms added, and below 0.25 of what the Portkey gateway adds.",
  });
}

/**
 * Our gateway (authentication, durable hold, mark and settlement, fsync on) beside its peers and the same provider
 * called directly: each a process of its own, all under the same load.
 */
export async function benchGateway(): Promise<void> {
  const postgres = await startBenchPostgres();
  const load = createLoad({ connections: CALLERS });
  const processes: OwnProcess[] = [];
  try {
    const provider = await startOwnFile(
      new URL("../provider/provider-process.ts", import.meta.url),
      [String(EVENTS)],
    );
    processes.push(provider);
    const ours = await startOurs(await postgres.createDatabase("bench_gateway"), provider.url);
    processes.push(ours.own);
    const peers = await startPeers(provider.url);
    processes.push(...peers);
    const bare = await startOwnFile(new URL("bare-proxy-process.ts", import.meta.url), [
      provider.url,
    ]);
    processes.push(bare);
    const plain = [
      { name: DIRECT, url: provider.url, headersOf: () => ({}) },
      { name: "bare proxy in Node", url: bare.url, headersOf: () => ({}) },
    ];
    await compareAll(load, [...plain, ...ours.targets, ...peers.map(({ target }) => target)]);
  } finally {
    await load.close();
    await Promise.all(processes.map((own) => own.close()));
    await postgres.close();
  }
}

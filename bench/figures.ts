/** The value below which the share `p` (0 to 1) of the samples lies. */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN;
}

const median = (samples: readonly number[]): number => percentile(samples, 0.5);

/** What one round measured. */
export type Round = { perSecond: number; p50Ms: number; p99Ms: number };

/** Medians over rounds, each figure by itself. */
function medianRound(rounds: readonly Round[]): Round {
  return {
    perSecond: median(rounds.map((round) => round.perSecond)),
    p50Ms: median(rounds.map((round) => round.p50Ms)),
    p99Ms: median(rounds.map((round) => round.p99Ms)),
  };
}

/**
 * Lets `callers` call `work` one call after the other, all at once, until `forMs` have passed or `work` was begun
 * `count` times. `n` counts the calls from 0. Calls that are open at the end are waited for and counted.
 */
export async function measure(
  options: { callers: number; forMs?: number; count?: number },
  work: (n: number) => Promise<unknown>,
): Promise<Round> {
  const eachMs: number[] = [];
  let next = 0;
  const begin = performance.now();
  const until = begin + (options.forMs ?? Number.POSITIVE_INFINITY);
  const count = options.count ?? Number.POSITIVE_INFINITY;
  await Promise.all(
    Array.from({ length: options.callers }, async () => {
      for (let started = begin; next < count && started < until;) {
        const n = next++;
        await work(n);
        const ended = performance.now();
        eachMs.push(ended - started);
        started = ended;
      }
    }),
  );
  return {
    perSecond: (eachMs.length * 1_000) / (performance.now() - begin),
    p50Ms: percentile(eachMs, 0.5),
    p99Ms: percentile(eachMs, 0.99),
  };
}

/** Something that is measured beside others. */
export type Contestant = { name: string; round(): Promise<Round> };

/** Lets the contestants take turns, so that what else the machine does meets them all. The first turn is the warm-up. */
export async function takeTurns(
  contestants: readonly Contestant[],
  rounds: number,
): Promise<{ name: string; figures: Round }[]> {
  const taken = contestants.map((contestant) => ({ contestant, rounds: [] as Round[] }));
  for (let turn = 0; turn <= rounds; turn++)
    for (const { contestant, rounds } of taken) {
      const round = await contestant.round();
      if (turn > 0) rounds.push(round);
    }
  return taken.map(({ contestant, rounds }) => ({
    name: contestant.name,
    figures: medianRound(rounds),
  }));
}

export function printTable(rows: readonly Readonly<Record<string, string | number>>[]): void {
  const names = Object.keys(rows[0] ?? {});
  const cell = (value: string | number | undefined): string =>
    typeof value === "number" ? value.toFixed(value < 10 ? 2 : 0) : (value ?? "");
  const lines = [names, ...rows.map((row) => names.map((name) => cell(row[name])))];
  const widths = names.map((_, i) => Math.max(...lines.map((line) => (line[i] ?? "").length)));
  for (const [n, line] of lines.entries()) {
    console.log(`| ${line.map((text, i) => text.padEnd(widths[i] ?? 0)).join(" | ")} |`);
    if (n === 0) console.log(`|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`);
  }
}

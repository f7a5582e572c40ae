/** The value below which the share `p` (0 to 1) of the samples lies. */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN;
}

export const median = (samples: readonly number[]): number => percentile(samples, 0.5);

/** Runs `work` `count` times, at most `concurrency` at once. -> milliseconds of each, and of the whole */
export async function measure(
  options: { count: number; concurrency: number },
  work: (n: number) => Promise<unknown>,
): Promise<{ eachMs: number[]; totalMs: number }> {
  const eachMs: number[] = [];
  let next = 0;
  const begin = performance.now();
  await Promise.all(
    Array.from({ length: options.concurrency }, async () => {
      while (next < options.count) {
        const n = next++;
        const started = performance.now();
        await work(n);
        eachMs.push(performance.now() - started);
      }
    }),
  );
  return { eachMs, totalMs: performance.now() - begin };
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

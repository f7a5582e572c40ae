import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { Command } from "./command-fixture.ts";

// How much is tried, by which seed, and what becomes of a sequence that fails.

const folder = join(import.meta.dirname, "regressions");

export type Property = "kernel" | "postgres" | "concurrent";

/** A sequence that once broke a law. Rounds of commands happen at once; those of the kernel are rounds of one. */
export type Regression = {
  property: Property;
  /** What it broke, or would break. */
  law: string;
  /** With which it was found, when it was found at random. */
  seed?: number;
  path?: string;
  rounds: readonly (readonly Command[])[];
};

function numberFrom(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined || text === "") return undefined;
  const number = Number(text);
  if (!Number.isSafeInteger(number)) throw new Error(`${name} is ${text}, not a whole number`);
  return number;
}

/** How many sequences each property tries: what every run of the tests can afford, or what `npm run prove` asks for. */
export const sizes = {
  kernel: numberFrom("KERNEL_RUNS") ?? 10_000,
  postgres: numberFrom("POSTGRES_RUNS") ?? 300,
};

/** Time enough for that many runs on a busy machine. */
export const timeLimitMs = (runs: number, msPerRun: number): number =>
  Math.max(180_000, runs * msPerRun);

export function readRegressions(): { name: string; regression: Regression }[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => ({
      name,
      regression: JSON.parse(readFileSync(join(folder, name), "utf8")) as Regression,
    }));
}

function keep(regression: Regression): string {
  const name = `${regression.property}-${regression.seed}.json`;
  writeFileSync(join(folder, name), `${JSON.stringify(regression, undefined, 2)}\n`);
  return name;
}

const lawOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).slice(0, 300);

/**
 * Plays random rounds. A failing one is shrunk, and kept in `regressions/` from its first sight on, so that it is not
 * lost when shrinking is cut short. `SEED` repeats a run.
 */
export async function tryAll(proof: {
  property: Property;
  runs: number;
  rounds: fc.Arbitrary<Command[][]>;
  play(rounds: readonly (readonly Command[])[]): void | Promise<void>;
}): Promise<void> {
  const { property, runs, rounds, play } = proof;
  const seed = numberFrom("SEED") ?? Math.trunc(Math.random() * 2 ** 31);
  let found: Regression | undefined;
  const details = await fc.check(
    fc.asyncProperty(rounds, async (rounds) => {
      try {
        const playing = play(rounds);
        if (playing) await playing;
      } catch (error) {
        found = { property, law: lawOf(error), seed, rounds };
        keep(found);
        throw error;
      }
    }),
    // Without shrinking when only the fact of a failure counts.
    { numRuns: runs, seed, endOnFailure: process.env["SHRINK"] === "off" },
  );
  if (!details.failed) return;
  const path = details.counterexamplePath;
  const name = found ? keep({ ...found, ...(path === null ? {} : { path }) }) : "nothing";
  throw new Error(
    [
      found?.law ?? "a sequence failed",
      `SEED=${seed} repeats this; the sequence is kept in server/ledger/regressions/${name}`,
      fc.defaultReportMessage(details),
    ].join("\n"),
  );
}

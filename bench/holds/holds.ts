import { startBenchPostgres, type BenchPostgres } from "../database.ts";
import { benchHotHolds } from "./hot.ts";
import { benchManyHolds } from "./many.ts";
import { benchStoredLines } from "./stored-lines.ts";

/** Parts of the bench `holds`, on a Postgres of their own. */
async function onPostgres(
  ...parts: readonly ((postgres: BenchPostgres) => Promise<void>)[]
): Promise<void> {
  const postgres = await startBenchPostgres();
  try {
    for (const part of parts) await part(postgres);
  } finally {
    await postgres.close();
  }
}

/** Calls for one workspace that are all at once. */
export const benchHoldsHot = (): Promise<void> => onPostgres(benchHotHolds);

/** Calls for a thousand workspaces. */
export const benchHoldsMany = (): Promise<void> => onPostgres(benchManyHolds);

/** Calls while so many ledger lines are stored; when none are asked for, the two parts above. */
export const benchHolds = ({ lines }: { lines: number }): Promise<void> =>
  lines > 0
    ? onPostgres((postgres) => benchStoredLines(postgres, lines))
    : onPostgres(benchHotHolds, benchManyHolds);

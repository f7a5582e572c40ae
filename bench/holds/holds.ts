import { startBenchPostgres } from "../database.ts";
import { benchHotHolds } from "./hot.ts";
import { benchManyHolds } from "./many.ts";

/** How many calls the ledger can admit, durably, beside the least that a budget in Postgres costs. */
export async function benchHolds(): Promise<void> {
  const postgres = await startBenchPostgres();
  try {
    await benchHotHolds(postgres);
    await benchManyHolds(postgres);
  } finally {
    await postgres.close();
  }
}

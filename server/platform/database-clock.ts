import type { Clock } from "./clock.ts";
import type { Db } from "./db.ts";
import { invariant } from "./errors.ts";
import { every } from "./every.ts";
import type { JobFailures } from "./job-failures.ts";

/** Machines drift by some 500 ppm at worst: 30 ms in this time. */
const LOOK_AGAIN_MS = 60_000;

/**
 * The database's time now, on this process's monotonic scale; off by half a round trip at most. Waiting for a connection
 * may take seconds, and is no part of it.
 */
function measure(db: Pick<Db, "withPlatform">): Promise<number> {
  return db.withPlatform(async (tx) => {
    const askedMs = performance.now();
    const [row] = await tx.query<{ ms: number }>({
      text: "SELECT extract(epoch FROM clock_now())::float8 * 1000 AS ms",
      values: [],
    });
    const answeredMs = performance.now();
    invariant(row !== undefined, "the database tells its time");
    return row.ms - (askedMs + answeredMs) / 2;
  });
}

/**
 * Wall time as the database has it, carried on by this machine's monotonic clock. All processes of an installation so
 * agree on what has expired, whatever their own machines believe the time to be.
 */
export async function openDatabaseClock(deps: {
  db: Pick<Db, "withPlatform">;
  failures: JobFailures;
}): Promise<Clock & { close(): Promise<void> }> {
  let originMs = await measure(deps.db);
  const looking = every(LOOK_AGAIN_MS, {
    name: "read_database_clock",
    failures: deps.failures,
    async run() {
      originMs = await measure(deps.db);
    },
  });
  looking.start();
  return {
    now: () => new Date(originMs + performance.now()),
    monotonicMs: () => performance.now(),
    close: () => looking.close(),
  };
}

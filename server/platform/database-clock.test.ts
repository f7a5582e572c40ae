import { expect, it, onTestFinished, vi } from "vitest";
import { openDatabaseClock } from "./database-clock.ts";
import type { Db, Tx } from "./db.ts";
import { createJobFailures } from "./job-failures.ts";
import { createLogger } from "./log.ts";

const DATABASE_MS = Date.parse("2027-01-31T08:00:00Z");
const WAIT_MS = 3_000;
const COMMIT_MS = 2_000;
const ROUND_TRIP_MS = 10;

/** A database that is asked only after a while, for all its connections are taken. */
function busyDatabase(): Pick<Db, "withPlatform"> {
  const tx: Tx = {
    query<Row extends object>() {
      vi.advanceTimersByTime(ROUND_TRIP_MS);
      return Promise.resolve([{ ms: DATABASE_MS }] as unknown as Row[]);
    },
  };
  return {
    async withPlatform(work) {
      vi.advanceTimersByTime(WAIT_MS);
      const result = await work(tx);
      vi.advanceTimersByTime(COMMIT_MS);
      return result;
    },
  };
}

it("a wait for a connection does not put the clock wrong", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const clock = await openDatabaseClock({
    db: busyDatabase(),
    failures: createJobFailures(createLogger({ level: "silent" })),
  });
  onTestFinished(() => clock.close());
  expect(clock.now().getTime()).toBe(DATABASE_MS + ROUND_TRIP_MS / 2 + COMMIT_MS);
});

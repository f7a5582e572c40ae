import fc from "fast-check";
import { expect, it } from "vitest";
import { workersWanted } from "./workers-wanted.ts";

const count = fc.integer({ min: 0, max: 100_000 });
const perWorker = fc.integer({ min: 1, max: 1_000 });
const waitedMs = fc.integer({ min: 0, max: 600_000 });

it("the wanted workers have room for all that could run, and no worker is wanted for nothing", () => {
  fc.assert(
    fc.property(count, count, waitedMs, perWorker, (running, ready, oldestReadyMs, runs) => {
      const wanted = workersWanted({ running, ready, oldestReadyMs }, runs);
      expect(wanted * runs).toBeGreaterThanOrEqual(running + ready);
      expect(wanted === 0).toBe(running + ready === 0);
    }),
  );
});

it("more work or a longer wait never wants fewer", () => {
  fc.assert(
    fc.property(
      count,
      count,
      waitedMs,
      perWorker,
      count,
      (running, ready, oldestReadyMs, runs, more) => {
        const wanted = workersWanted({ running, ready, oldestReadyMs }, runs);
        const load = { running, ready, oldestReadyMs };
        for (const grown of [
          { ...load, running: running + more },
          { ...load, ready: ready + more },
          { ...load, oldestReadyMs: oldestReadyMs + more },
        ])
          expect(workersWanted(grown, runs)).toBeGreaterThanOrEqual(wanted);
      },
    ),
  );
});

it("the figures of the guide are these", () => {
  const load = { running: 40, ready: 20, oldestReadyMs: 300 };
  expect(workersWanted(load, 16)).toBe(5);
  expect(workersWanted({ ...load, oldestReadyMs: 6_000 }, 16)).toBe(6);
  expect(workersWanted({ running: 0, ready: 0, oldestReadyMs: 0 }, 16)).toBe(0);
});

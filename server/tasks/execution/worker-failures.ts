import type { Logger } from "../../platform/log.ts";

/** What a worker does again and again, and goes on trying when it fails: claiming runs, and extending its leases. */
export type WorkerWork = "claim" | "lease";

/** How often each failed since the start, and whether it did the last time. */
export type WorkerFailures = Readonly<
  Record<WorkerWork, Readonly<{ times: number; lasting: boolean }>>
>;

const said = {
  claim: "runs could not be claimed, trying again",
  lease: "leases could not be extended, trying again",
} as const;

/** Does what a worker does again and again: what fails is counted and logged, for the next time may go well. */
export function createWorkerFailures(log: Logger) {
  const failures = {
    claim: { times: 0, lasting: false },
    lease: { times: 0, lasting: false },
  };
  return {
    failures,
    /** -> undefined when it failed */
    async attempt<T>(what: WorkerWork, work: () => Promise<T>): Promise<T | undefined> {
      const kept = failures[what];
      try {
        const done = await work();
        kept.lasting = false;
        return done;
      } catch (error) {
        kept.times += 1;
        kept.lasting = true;
        log.warn({ err: error }, said[what]);
        return undefined;
      }
    },
  };
}

import type { Logger } from "./log.ts";

/** What becomes of the failures of this process's jobs: they run again soon, so each is counted and logged. */
export type JobFailures = {
  /** How often each job failed since the start, by its name; 0 from when it is watched, so that a first failure is a rise. */
  readonly times: ReadonlyMap<string, number>;
  /** -> does the job once, and answers undefined when it failed */
  watch(job: string): <T>(work: () => Promise<T>) => Promise<T | undefined>;
};

export function createJobFailures(log: Logger): JobFailures {
  const times = new Map<string, number>();
  return {
    times,
    watch(job) {
      times.set(job, times.get(job) ?? 0);
      return async (work) => {
        try {
          return await work();
        } catch (error) {
          times.set(job, (times.get(job) ?? 0) + 1);
          log.warn({ err: error, job }, "a job failed, it runs again soon");
          return undefined;
        }
      };
    },
  };
}

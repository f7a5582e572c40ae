import type { JobFailures } from "./job-failures.ts";

/** A job that runs again some time after it has ended, never twice at once in this process. */
export type Recurring = { start(): void; close(): Promise<void> };

/** After a failure the job runs again after the pause, too: what it does is idempotent by contract. */
export function every(
  pauseMs: number,
  job: { name: string; run(): Promise<unknown>; failures: JobFailures },
): Recurring {
  const attempt = job.failures.watch(job.name);
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<unknown> | undefined;
  let closed = false;
  function again(): void {
    if (closed) return;
    timer = setTimeout(() => {
      running = attempt(() => job.run()).finally(again);
    }, pauseMs);
  }
  return {
    start: again,
    async close() {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}

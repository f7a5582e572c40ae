import type { Logger } from "./log.ts";

/** A job that runs again some time after it has ended, never twice at once in this process. */
export type Recurring = { start(): void; close(): Promise<void> };

/** A failure is logged and the job runs again after the pause: what it does is idempotent by contract. */
export function every(
  pauseMs: number,
  job: { name: string; run(): Promise<unknown>; log: Logger },
): Recurring {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<unknown> | undefined;
  let closed = false;
  function again(): void {
    if (closed) return;
    timer = setTimeout(() => {
      running = job
        .run()
        .catch((error: unknown) =>
          job.log.warn({ err: error, job: job.name }, "a recurring job failed"),
        )
        .finally(again);
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

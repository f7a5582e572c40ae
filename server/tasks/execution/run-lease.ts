import type { Clock } from "../../platform/clock.ts";
import type { ParkReason } from "../../runtimes/park-reason.ts";

/** Why a run must stop before it has ended by itself. */
export type RunStop =
  /** The database gave or will give the run to somebody else, or it has ended: nothing more may be written. */
  | { kind: "lost" }
  /** The worker shuts down and waits no longer. */
  | { kind: "shutdown" }
  | { kind: "wall_time" }
  | { kind: "agent_time"; reason: ParkReason };

/** The reason of a run's abort signal. */
class RunStopped extends Error {
  override readonly name = "RunStopped";
  readonly stop: RunStop;

  constructor(stop: RunStop) {
    super(`the run was stopped: ${stop.kind}`);
    this.stop = stop;
  }
}

/** What is known on this machine about the right to execute one run. */
export type RunLease = {
  readonly signal: AbortSignal;
  /** Stops the run; the first reason stays, except that a lost lease outdoes every other. */
  stop(stop: RunStop): void;
  /** True while the attempt may write: not lost, and its own deadline not reached. */
  isValid(): boolean;
  /** The lease was extended by a request sent at `sentAtMs` (monotonic). */
  extend(sentAtMs: number): void;
  /** Why it was stopped, once it was. */
  stopped(): RunStop | undefined;
  close(): void;
};

/**
 * A lease as its holder sees it. The deadline counts from before the request for it was sent, so it is never later
 * than the database's, whatever the two clocks say; past it the run stops even when the database cannot be reached.
 */
export function createRunLease(options: {
  clock: Clock;
  leaseMs: number;
  sentAtMs: number;
}): RunLease {
  const { clock, leaseMs } = options;
  const controller = new AbortController();
  let deadlineMs = options.sentAtMs + leaseMs;
  let stopped: RunStop | undefined;
  let timer: NodeJS.Timeout | undefined;

  function stop(reason: RunStop): void {
    if (stopped === undefined || reason.kind === "lost") stopped = reason;
    controller.abort(new RunStopped(reason));
  }

  function arm(): void {
    clearTimeout(timer);
    timer = setTimeout(check, Math.max(1, deadlineMs - clock.monotonicMs()));
  }

  function check(): void {
    if (clock.monotonicMs() >= deadlineMs) stop({ kind: "lost" });
    else arm();
  }

  arm();
  return {
    signal: controller.signal,
    stop,
    stopped: () => stopped,
    isValid: () => stopped?.kind !== "lost" && clock.monotonicMs() < deadlineMs,
    extend(sentAtMs) {
      deadlineMs = Math.max(deadlineMs, sentAtMs + leaseMs);
      arm();
    },
    close: () => clearTimeout(timer),
  };
}

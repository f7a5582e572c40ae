import { Histogram } from "prom-client";

/** How long runs wait from being queued to their start by a worker of this process; in no registry yet. */
export function createStartDelays(): Histogram {
  return new Histogram({
    name: "guildhall_start_delay_seconds",
    help: "Time from a run's being queued, for the first time or again, to its start by a worker of this process",
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1_800],
    registers: [],
  });
}

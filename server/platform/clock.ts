/**
 * Time as a dependency. `now` is wall time for what people read; `monotonicMs` is for durations and local
 * deadlines, which must not move when somebody sets the machine's clock. Authority over leases and periods
 * is the database's own clock, never this one.
 */
export type Clock = {
  now(): Date;
  /** Milliseconds since an arbitrary start, never going back. */
  monotonicMs(): number;
};

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
};

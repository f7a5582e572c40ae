/** What the number of workers follows from; of the whole installation. */
export type QueueLoad = {
  /** Runs that workers execute now. */
  running: number;
  /** Runs that wait for a worker alone: their workspace has a slot for them. Those without one are not helped by workers. */
  ready: number;
  /** How long the one that has waited longest has waited; milliseconds. */
  oldestReadyMs: number;
};

/** A share of each worker is kept free, so that work which comes does not wait for a new one to start. */
const USED_SHARE = 0.8;
/** Work that has waited so long shows that the workers do not keep up, whatever they should be able to. */
const LATE_MS = 5_000;

/**
 * How many workers would have room for all that could run now:
 *   ceil((running + ready) / (runs of one worker x 0.8)), and one more when the oldest has waited for longer than 5 s.
 * 0 when there is nothing to do; who keeps one anyway says so to the autoscaler.
 */
export function workersWanted(load: QueueLoad, runsPerWorker: number): number {
  const work = load.running + load.ready;
  if (work === 0) return 0;
  const late = load.ready > 0 && load.oldestReadyMs > LATE_MS ? 1 : 0;
  return Math.ceil(work / (runsPerWorker * USED_SHARE)) + late;
}

import { setTimeout as delay } from "node:timers/promises";

/** A bell that remembers one ring, so that work which arrives while it is being looked for is not overlooked. */
export function createBell() {
  let rung = false;
  let waiting: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      waiting?.();
    },
    async next(timeoutMs: number): Promise<void> {
      if (!rung) {
        const timeout = new AbortController();
        const rings = new Promise<void>((resolve) => (waiting = resolve));
        await Promise.race([
          rings,
          delay(timeoutMs, undefined, { signal: timeout.signal }).catch(() => undefined),
        ]);
        timeout.abort();
        waiting = undefined;
      }
      rung = false;
    },
  };
}

/** Lets others wait until something holds; `look` is called whenever it may. */
export function createWaitingRoom(holds: () => boolean) {
  let again = Promise.withResolvers<void>();
  return {
    look() {
      again.resolve();
      again = Promise.withResolvers();
    },
    async until(): Promise<void> {
      while (!holds()) await again.promise;
    },
  };
}

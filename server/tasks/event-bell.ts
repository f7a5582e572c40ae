/** One wait for the next ring. */
export type Listening = {
  /** Ends with the next ring, after `timeoutMs`, or when the signal aborts; never fails. */
  wait(timeoutMs: number, signal: AbortSignal): Promise<void>;
  stop(): void;
};

/**
 * Tells those who wait in this process that a task has new events. A hint only: a ring may be missed (another process
 * wrote the event), so that whoever waits also looks again after a while.
 */
export type EventBell = {
  ring(taskId: string): void;
  /** Hears every ring from this call on, so that nothing is lost between a look and the wait. */
  listen(taskId: string): Listening;
};

export function createEventBell(): EventBell {
  const listeners = new Map<string, Set<() => void>>();
  return {
    ring(taskId) {
      for (const heard of listeners.get(taskId) ?? []) heard();
    },
    listen(taskId) {
      const { promise: rung, resolve } = Promise.withResolvers<void>();
      const heard = (): void => resolve();
      const group = listeners.get(taskId) ?? new Set();
      listeners.set(taskId, group.add(heard));
      return {
        async wait(timeoutMs, signal) {
          if (signal.aborted) return;
          const timer = setTimeout(heard, timeoutMs);
          signal.addEventListener("abort", heard, { once: true });
          await rung;
          clearTimeout(timer);
          signal.removeEventListener("abort", heard);
        },
        stop() {
          group.delete(heard);
          if (group.size === 0 && listeners.get(taskId) === group) listeners.delete(taskId);
        },
      };
    },
  };
}

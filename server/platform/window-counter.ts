/** How often something of one key has happened in its present window. */
export type WindowCount = {
  count: number;
  /** Until the window is over, milliseconds. */ resetMs: number;
};

/** Counts per key in windows of fixed length, each beginning with the first count of its key. Never forgets more than it must. */
export type WindowCounter = {
  /** Counts one more, also beyond any limit; that does not prolong the window. */
  add(key: string): WindowCount;
  /** Takes one back. */
  subtract(key: string): void;
  look(key: string): WindowCount | undefined;
  /** How many keys are remembered. */
  size(): number;
};

type Entry = { count: number; endsAtMs: number };

/**
 * At most `mostKeys` keys are remembered, whoever sends from however many addresses. All windows are equally long, so
 * keys stand in the order in which their windows end: what is over stands in front and goes first, and when there is no
 * room that window is forgotten which would have ended next, for its count would have protected for the shortest time.
 */
export function createWindowCounter(options: {
  windowMs: number;
  mostKeys: number;
  monotonicMs: () => number;
}): WindowCounter {
  const { windowMs, mostKeys, monotonicMs } = options;
  const entries = new Map<string, Entry>();

  function forget(nowMs: number): void {
    for (const [key, { endsAtMs }] of entries) {
      if (endsAtMs > nowMs && entries.size < mostKeys) return;
      entries.delete(key);
    }
  }

  function find(key: string, nowMs: number): Entry | undefined {
    const entry = entries.get(key);
    return entry !== undefined && entry.endsAtMs > nowMs ? entry : undefined;
  }

  function begin(key: string, nowMs: number): Entry {
    // A key whose window is over goes to the end of the order.
    entries.delete(key);
    forget(nowMs);
    const entry = { count: 0, endsAtMs: nowMs + windowMs };
    entries.set(key, entry);
    return entry;
  }

  const told = ({ count, endsAtMs }: Entry, nowMs: number): WindowCount => ({
    count,
    resetMs: Math.ceil(endsAtMs - nowMs),
  });

  return {
    add(key) {
      const nowMs = monotonicMs();
      const entry = find(key, nowMs) ?? begin(key, nowMs);
      entry.count++;
      return told(entry, nowMs);
    },
    subtract(key) {
      const entry = find(key, monotonicMs());
      if (entry !== undefined && entry.count > 0) entry.count--;
    },
    look(key) {
      const nowMs = monotonicMs();
      const entry = find(key, nowMs);
      return entry && told(entry, nowMs);
    },
    size: () => entries.size,
  };
}

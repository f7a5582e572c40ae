import type { Clock } from "../platform/clock.ts";

/**
 * Remembers answers for a moment. What was revoked elsewhere is believed at most `ttlMs` longer; what was revoked in
 * this process is forgotten at once. The oldest entries go first, so that strangers cannot fill the memory.
 */
export type FreshCache<Value> = {
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
  delete(key: string): void;
  clear(): void;
};

export function createFreshCache<Value>(options: {
  clock: Clock;
  ttlMs: number;
  maxEntries: number;
}): FreshCache<Value> {
  const entries = new Map<string, { value: Value; untilMs: number }>();
  return {
    get(key) {
      const entry = entries.get(key);
      return entry !== undefined && entry.untilMs > options.clock.monotonicMs()
        ? entry.value
        : undefined;
    },
    set(key, value) {
      entries.delete(key);
      entries.set(key, { value, untilMs: options.clock.monotonicMs() + options.ttlMs });
      const [oldest] = entries.keys();
      if (entries.size > options.maxEntries && oldest !== undefined) entries.delete(oldest);
    },
    delete: (key) => void entries.delete(key),
    clear: () => entries.clear(),
  };
}

import { IDS_AT_MOST, type Wake } from "./wake.ts";

/** Wakes said at the same time, joined to few. */
export type Outgoing = {
  add(wake: Wake): void;
  /** Resolves when all that was added until now has been handed to `post`. */
  flushed(): Promise<void>;
};

/** More than this waits only while the transport is stuck; the poll finds what is dropped. */
const WAITING_AT_MOST = 10_000;

function inParts(kind: Wake["kind"], ids: ReadonlySet<string>): Wake[] {
  const all = [...ids];
  // Nobody counts rings: an empty set is one ring that names nothing.
  if (all.length === 0) return [{ kind, taskIds: [] }];
  return Array.from({ length: Math.ceil(all.length / IDS_AT_MOST) }, (_, n) => ({
    kind,
    taskIds: all.slice(n * IDS_AT_MOST, (n + 1) * IDS_AT_MOST),
  }));
}

/**
 * Posts one batch after the other. What is added while one is on its way is joined to the next: under load few large
 * ones leave, and a single wake leaves at once. `post` never rejects.
 */
export function createOutgoing(post: (wakes: readonly Wake[]) => Promise<void>): Outgoing {
  let waiting = new Map<Wake["kind"], Set<string>>();
  let posting: Promise<void> | undefined;

  async function postAll(): Promise<void> {
    // A turn of the event loop's microtasks joins what one request says.
    await Promise.resolve();
    while (waiting.size > 0) {
      const batch = waiting;
      waiting = new Map();
      await post([...batch].flatMap(([kind, ids]) => inParts(kind, ids)));
    }
    posting = undefined;
  }

  return {
    add({ kind, taskIds }) {
      const ids = waiting.get(kind) ?? new Set();
      waiting.set(kind, ids);
      for (const id of taskIds) if (ids.size < WAITING_AT_MOST) ids.add(id);
      posting ??= postAll();
    },
    async flushed() {
      await posting;
    },
  };
}

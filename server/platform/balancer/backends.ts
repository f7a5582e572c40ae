import { setTimeout as delay } from "node:timers/promises";

/** A server behind the balancer; `origin` such as `http://127.0.0.1:4000`. */
export type Backend = { readonly origin: string };

export type Backends = {
  add(origin: string): void;
  /** No further request goes there; those that are open go on. */
  remove(origin: string): void;
  /** The next one that is ready and not `tried`; waits up to `waitMs` for one. */
  pick(options: { waitMs: number; tried: ReadonlySet<Backend> }): Promise<Backend | undefined>;
  /** It refused a connection: nothing goes there until it says again that it is ready. */
  failed(backend: Backend): void;
  close(): Promise<void>;
};

type Entry = Backend & { ready: boolean };

const PROBE_TIMEOUT_MS = 2_000;
const LOOK_MS = 25;

async function isReady(origin: string): Promise<boolean> {
  try {
    const response = await fetch(`${origin}/readyz`, {
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
    });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** Knows which servers are ready, by asking each for `/readyz` every `probeEveryMs`, and hands them out in turn. */
export function createBackends({ probeEveryMs }: { probeEveryMs: number }): Backends {
  const entries = new Map<string, Entry>();
  const closed = new AbortController();
  let turn = 0;

  function next(tried: ReadonlySet<Backend>): Entry | undefined {
    const ready = [...entries.values()].filter((entry) => entry.ready && !tried.has(entry));
    return ready[turn++ % Math.max(1, ready.length)];
  }

  async function probeAll(): Promise<void> {
    await Promise.all(
      [...entries.values()].map(async (entry) => {
        entry.ready = await isReady(entry.origin);
      }),
    );
  }

  async function probeLoop(): Promise<void> {
    while (!closed.signal.aborted) {
      await probeAll();
      await delay(probeEveryMs, undefined, { signal: closed.signal }).catch(() => undefined);
    }
  }
  const probing = probeLoop();

  return {
    add: (origin) => void entries.set(origin, { origin, ready: true }),
    remove: (origin) => void entries.delete(origin),
    async pick({ waitMs, tried }) {
      const untilMs = performance.now() + waitMs;
      for (;;) {
        const entry = next(tried);
        if (entry || performance.now() >= untilMs || closed.signal.aborted) return entry;
        await delay(LOOK_MS);
      }
    },
    failed({ origin }) {
      const entry = entries.get(origin);
      if (entry) entry.ready = false;
    },
    async close() {
      closed.abort();
      await probing;
    },
  };
}

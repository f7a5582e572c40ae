/**
 * Runs that are claimed with one statement. A claim costs Postgres a millisecond however few it finds, so few at a time are
 * dear; and with many, those that are claimed first wait for the last.
 */
const CLAIM_AT_MOST = 32;
/** A second claim goes beside the first one only for so many. */
const BESIDE_AT_LEAST = 16;
const CLAIMS_AT_ONCE = 2;

export type Claims = {
  start(): void;
  /** There may be work: look now. A ring that comes while it looks, or while there is no room, is not overlooked. */
  ring(): void;
  /** There is room for what the bell has told of. */
  roomMade(): void;
  /** Begins no more. Resolves when none is under way. */
  close(): Promise<void>;
};

/**
 * Decides when a worker looks for runs: when the bell rings, at intervals, and again at once while it finds as many as it
 * asks for.
 */
export function createClaims(options: {
  /** Claims up to so many. -> how many it found. Never rejects. */
  claim(atMost: number): Promise<number>;
  /** How many more runs may be executed, those not counted that a claim under way may find. */
  room(): number;
  pollMs: number;
}): Claims {
  let rung = false;
  let isOpen = false;
  let asked = 0;
  const underWay = new Set<Promise<void>>();
  let looking: NodeJS.Immediate | undefined;
  let poll: NodeJS.Timeout | undefined;

  async function claim(atMost: number): Promise<void> {
    asked += atMost;
    const found = await options.claim(atMost);
    asked -= atMost;
    if (found === atMost) rung = true;
  }

  function begin(atMost: number): void {
    const one: Promise<void> = claim(atMost).finally(() => {
      underWay.delete(one);
      look();
    });
    underWay.add(one);
  }

  function look(): void {
    looking = undefined;
    if (!isOpen) return;
    while (rung && underWay.size < CLAIMS_AT_ONCE) {
      const atMost = Math.min(options.room() - asked, CLAIM_AT_MOST);
      if (atMost < (underWay.size === 0 ? 1 : BESIDE_AT_LEAST)) return;
      rung = false;
      begin(atMost);
    }
  }

  function roomMade(): void {
    // After all that happens in this turn of the event loop: runs end together, and make room together.
    looking ??= setImmediate(look);
  }

  function ring(): void {
    rung = true;
    roomMade();
  }

  return {
    start() {
      isOpen = true;
      poll = setInterval(ring, options.pollMs);
      ring();
    },
    ring,
    roomMade,
    async close() {
      isOpen = false;
      clearInterval(poll);
      clearImmediate(looking);
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}

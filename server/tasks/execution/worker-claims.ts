/**
 * Runs that are claimed with one statement. A claim costs Postgres a millisecond however few it finds, so few at a time are
 * dear, and two at once dearer than one of double the size; with many, those that are claimed first wait for the last.
 */
const CLAIM_AT_MOST = 64;

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
  /** Claims up to so many. -> how many it found, undefined when it failed. Never rejects. */
  claim(atMost: number): Promise<number | undefined>;
  /** How many more runs may be executed. */
  room(): number;
  pollMs: number;
}): Claims {
  let rung = false;
  /** Fewer after a failure: what breaks may come with many only, and then they would go on breaking it together. */
  let most = CLAIM_AT_MOST;
  let isOpen = false;
  let underWay: Promise<void> | undefined;
  let looking: NodeJS.Immediate | undefined;
  let poll: NodeJS.Timeout | undefined;

  async function claim(atMost: number): Promise<void> {
    rung = false;
    const found = await options.claim(atMost);
    most = found === undefined ? Math.ceil(atMost / 2) : CLAIM_AT_MOST;
    if (found === atMost) rung = true;
  }

  function look(): void {
    looking = undefined;
    if (!isOpen || !rung || underWay !== undefined) return;
    const atMost = Math.min(options.room(), most);
    if (atMost < 1) return;
    underWay = claim(atMost).finally(() => {
      underWay = undefined;
      look();
    });
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
      await underWay;
    },
  };
}

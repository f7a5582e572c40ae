/** Numbers that look random and are the same for the same seed. */
export type Random = {
  /** From 0 up to, but not including, 1. */
  next(): number;
  /** A whole number of both ends and what lies between. */
  between(least: number, most: number): number;
  /** True in this share of all cases. */
  chance(share: number): boolean;
};

/** Mulberry32: 32 bits of state suffice to vary a demonstration. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }
  return {
    next,
    between: (least, most) => least + Math.floor(next() * (most - least + 1)),
    chance: (share) => next() < share,
  };
}

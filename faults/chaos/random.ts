/** Numbers that look random and come again with the same seed (mulberry32, by Tommy Ettinger, public domain). */
export type Random = {
  /** An integer from `least` to `most`, both included. */
  between(least: number, most: number): number;
  pick<T>(of: readonly [T, ...T[]]): T;
};

export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
  const between = (least: number, most: number): number =>
    least + Math.floor(next() * (most - least + 1));
  return { between, pick: (of) => of[between(0, of.length - 1)] ?? of[0] };
}

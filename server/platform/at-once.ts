/**
 * Does `work` for every item, in their order and at most `most` at the same time. After one has failed no other begins;
 * what is under way is waited for, so that nothing goes on behind the caller's back. Throws the first failure.
 */
export async function eachAtOnce<T>(
  items: readonly T[],
  most: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items.values();
  const failures: unknown[] = [];
  async function workOff(): Promise<void> {
    for (const item of rest) {
      if (failures.length > 0) return;
      try {
        await work(item);
      } catch (error) {
        failures.push(error);
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, workOff));
  if (failures.length > 0) throw failures[0];
}

import { expect, test } from "vitest";
import { eachAtOnce } from "./at-once.ts";

/** Work that ends when it is told to. */
function heldWork() {
  const open = new Map<number, PromiseWithResolvers<void>>();
  return {
    open,
    work(item: number): Promise<void> {
      const end = Promise.withResolvers<void>();
      open.set(item, end);
      return end.promise.finally(() => open.delete(item));
    },
    begun: () => [...open.keys()],
  };
}

test("so many are under way at once and no more, begun in their order, and all are done", async () => {
  const { open, work, begun } = heldWork();
  const done = eachAtOnce([1, 2, 3, 4, 5], 2, work);
  expect(begun()).toEqual([1, 2]);
  open.get(2)?.resolve();
  await expect.poll(begun).toEqual([1, 3]);
  for (const next of [1, 3, 4, 5]) {
    await expect.poll(() => open.has(next)).toBe(true);
    open.get(next)?.resolve();
  }
  await done;
  expect(begun()).toEqual([]);
  await eachAtOnce([], 2, work);
});

test("after a failure nothing begins, and it is told when what was under way has ended", async () => {
  const { open, work, begun } = heldWork();
  let told = false;
  const failure = eachAtOnce([1, 2, 3, 4], 2, work).catch((error: unknown) => {
    told = true;
    return error;
  });
  open.get(1)?.reject(new Error("the first"));
  await expect.poll(begun).toEqual([2]);
  expect(told).toBe(false);
  open.get(2)?.reject(new Error("the second"));
  expect(await failure).toEqual(new Error("the first"));
  expect(begun()).toEqual([]);
});

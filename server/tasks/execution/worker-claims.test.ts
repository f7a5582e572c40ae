import { setImmediate as turn } from "node:timers/promises";
import { expect, it, onTestFinished } from "vitest";
import { createClaims } from "./worker-claims.ts";

const NEVER_MS = 600_000;

/** A worker of so many places, whose claims find what they are told to when they are told. */
function open(options: { places: number; pollMs?: number }) {
  const asked: { atMost: number; find(found: number | undefined): Promise<void> }[] = [];
  let running = 0;
  const claims = createClaims({
    room: () => options.places - running,
    pollMs: options.pollMs ?? NEVER_MS,
    claim: (atMost) =>
      new Promise((resolve) => {
        asked.push({
          atMost,
          async find(found) {
            running += found ?? 0;
            resolve(found);
            await turn();
            await turn();
          },
        });
      }),
  });
  onTestFinished(() => claims.close());
  async function ring(): Promise<void> {
    claims.ring();
    await turn();
    await turn();
  }
  async function end(runs: number): Promise<void> {
    running -= runs;
    claims.roomMade();
    await turn();
    await turn();
  }
  return { claims, asked, ring, end, sizes: () => asked.map((one) => one.atMost) };
}

it("a full claim is followed by another one, and one that finds less by none before the bell rings", async () => {
  const { claims, asked, ring, sizes } = open({ places: 70 });
  claims.start();
  await turn();
  await asked[0]!.find(64);
  expect(sizes()).toEqual([64, 6]);
  await asked[1]!.find(3);
  expect(sizes()).toEqual([64, 6]);
  await ring();
  expect(sizes()).toEqual([64, 6, 3]);
  await asked[2]!.find(0);
});

it("a ring while it looks is not overlooked, and many are one", async () => {
  const { claims, asked, ring, sizes } = open({ places: 4 });
  claims.start();
  await turn();
  for (let n = 0; n < 5; n++) await ring();
  expect(sizes()).toEqual([4]);
  await asked[0]!.find(1);
  expect(sizes()).toEqual([4, 3]);
  await asked[1]!.find(0);
  expect(sizes()).toEqual([4, 3]);
});

it("one claim is under way at a time, and the next one asks for the room that was made meanwhile", async () => {
  const { claims, asked, ring, end, sizes } = open({ places: 64 });
  claims.start();
  await turn();
  await asked[0]!.find(60);
  await ring();
  expect(sizes()).toEqual([64, 4]);
  await end(20);
  await ring();
  expect(sizes()).toEqual([64, 4]);
  await asked[1]!.find(2);
  expect(sizes()).toEqual([64, 4, 22]);
  await asked[2]!.find(0);
});

it("after a claim that failed it asks for half as many at its next look, until one goes well", async () => {
  const { claims, asked, ring, sizes } = open({ places: 64 });
  claims.start();
  await turn();
  await asked[0]!.find(undefined);
  expect(sizes()).toEqual([64]);
  for (const n of [1, 2, 3, 4, 5, 6, 7]) {
    await ring();
    await asked[n]!.find(undefined);
  }
  expect(sizes()).toEqual([64, 32, 16, 8, 4, 2, 1, 1]);
  await ring();
  await asked[8]!.find(1);
  expect(sizes().slice(8)).toEqual([1, 63]);
  await asked[9]!.find(0);
});

it("without a bell it looks at intervals, and after its close not at all", async () => {
  const { claims, asked, sizes } = open({ places: 2, pollMs: 5 });
  claims.start();
  await expect.poll(() => asked.length).toBe(1);
  await asked[0]!.find(0);
  await expect.poll(() => asked.length).toBe(2);
  let closed = false;
  const closing = claims.close().then(() => (closed = true));
  await turn();
  expect(closed).toBe(false);
  await asked[1]!.find(2);
  await closing;
  claims.ring();
  await turn();
  expect(sizes()).toEqual([2, 2]);
});

it("a ring without room is remembered until there is some, and room alone is no reason to look", async () => {
  const { claims, asked, ring, end, sizes } = open({ places: 2 });
  claims.start();
  await turn();
  await asked[0]!.find(1);
  await end(1);
  expect(sizes()).toEqual([2]);
  await ring();
  await asked[1]!.find(2);
  await ring();
  expect(sizes()).toEqual([2, 2]);
  await end(1);
  expect(sizes()).toEqual([2, 2, 1]);
  await asked[2]!.find(0);
});

import fc from "fast-check";
import { expect, it } from "vitest";
import { createRequestHolder } from "./request-holder.ts";
import { type Lease, lease, type LeaseAnswer, type LeaseCall } from "./request-window.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const START_MS = 1_000_000 * MINUTE_MS + 12_345;

/** The authority and nodes around it, on one time line; a node's own clock runs from another start. */
function createWorld(first: { limit: number | null }) {
  let nowMs = START_MS;
  let limit = first.limit;
  let leases: readonly Lease[] = [];
  let nodes = 0;
  /** Calls that were given up and have not arrived yet. */
  const late: LeaseCall[] = [];
  const admittedAtMs: number[] = [];

  function decide(call: LeaseCall): LeaseAnswer {
    const decided = lease(leases, call, { limit, limitVersion: 1, nowMs });
    leases = decided.leases;
    return decided.answer;
  }

  function createNode(offsetMs: number) {
    const nodeId = `api_${nodes++}`;
    const holder = createRequestHolder();
    let callNo = 0;
    const localMs = () => nowMs + offsetMs;
    function send(wish: number, fate: Fate): void {
      const sentAtMs = localMs();
      const call = { ...holder.ask(wish), nodeId, callNo: ++callNo };
      if (fate.lost === "request") late.push(call);
      nowMs += fate.thereMs;
      if (fate.lost === "request") return;
      const answer = decide(call);
      nowMs += fate.backMs;
      if (fate.lost !== "answer") holder.answered(answer, sentAtMs);
    }
    return {
      /** -> whether the request was admitted */
      take(fate: Fate = swift): boolean {
        for (let asks = 0; asks < 3; asks++) {
          const admission = holder.take(localMs());
          if (admission?.status === "admitted") {
            admittedAtMs.push(nowMs);
            return true;
          }
          if (admission) return false;
          send(fate.waiting, fate);
        }
        return false;
      },
      settle(fate: Fate = swift): void {
        if (holder.isOverdue(localMs())) send(0, fate);
      },
      close: () => send(0, swift),
    };
  }

  return {
    createNode,
    passMs: (ms: number) => void (nowMs += ms),
    setLimit: (amount: number) => void (limit = amount),
    arrive(): void {
      const call = late.shift();
      if (call) decide(call);
    },
    leases: () => leases,
    admittedAtMs,
    nowMs: () => nowMs,
  };
}

/** What becomes of a call, and how many requests wait for it. */
type Fate = {
  lost: "nothing" | "request" | "answer";
  thereMs: number;
  backMs: number;
  waiting: number;
};
const swift: Fate = { lost: "nothing", thereMs: 0, backMs: 0, waiting: 1 };

/** The most that any 60 minutes have seen. */
function mostInAnHour(atMs: readonly number[]): number {
  let from = 0;
  let most = 0;
  for (const [n, time] of atMs.entries()) {
    while (time - (atMs[from] ?? 0) >= HOUR_MS) from++;
    most = Math.max(most, n - from + 1);
  }
  return most;
}

const fate: fc.Arbitrary<Fate> = fc.record({
  lost: fc.oneof(
    { weight: 6, arbitrary: fc.constant("nothing" as const) },
    fc.constantFrom("request" as const, "answer" as const),
  ),
  thereMs: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.nat(90_000)),
  backMs: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.nat(90_000)),
  waiting: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.integer({ min: 2, max: 60 })),
});

type Event =
  | { do: "take"; node: number; times: number; fate: Fate }
  | { do: "settle"; node: number; fate: Fate }
  | { do: "crash"; node: number }
  | { do: "arrive" }
  | { do: "pass"; ms: number };

const node = fc.nat(2);
const events: fc.Arbitrary<Event[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant("take" as const),
        node,
        times: fc.integer({ min: 1, max: 30 }),
        fate,
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("settle" as const), node, fate }) },
    fc.record({ do: fc.constant("crash" as const), node }),
    fc.record({ do: fc.constant("arrive" as const) }),
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant("pass" as const),
        ms: fc.oneof(fc.nat(2_000), fc.nat(MINUTE_MS), fc.nat(20 * MINUTE_MS)),
      }),
    },
  ),
  { minLength: 20, maxLength: 200 },
);

function play(world: ReturnType<typeof createWorld>, happened: readonly Event[]): void {
  const offsets = [0, -7_000_000, 123_456_789];
  const nodes = offsets.map((offsetMs) => world.createNode(offsetMs));
  for (const event of happened) {
    switch (event.do) {
      case "take":
        for (let n = 0; n < event.times; n++) nodes[event.node]!.take(event.fate);
        break;
      case "settle":
        nodes[event.node]!.settle(event.fate);
        break;
      case "crash":
        nodes[event.node] = world.createNode(offsets[event.node]!);
        break;
      case "arrive":
        world.arrive();
        break;
      case "pass":
        world.passMs(event.ms);
    }
  }
}

it("no 60 minutes ever see more requests than the limit, whatever is lost, late or dies", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 400 }), events, (limit, happened) => {
      const world = createWorld({ limit });
      play(world, happened);
      expect(mostInAnHour(world.admittedAtMs)).toBeLessThanOrEqual(limit);
    }),
    { numRuns: 2_000 },
  );
});

it("when the limit changes back and forth, no 60 minutes see more than the largest of them", () => {
  const change = fc.record({ limit: fc.nat(200), happened: events });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const world = createWorld({ limit: 0 });
      for (const { limit, happened } of changes) {
        world.setLimit(limit);
        play(world, happened);
      }
      const largest = Math.max(...changes.map((one) => one.limit));
      expect(mostInAnHour(world.admittedAtMs)).toBeLessThanOrEqual(largest);
    }),
    { numRuns: 300 },
  );
});

it("everything that is left can be used: over any number of nodes exactly the limit is admitted in the first hour", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.array(fc.record({ node, passMs: fc.nat(20_000) }), { minLength: 1, maxLength: 80 }),
      (limit, requests) => {
        const world = createWorld({ limit });
        const nodes = [0, 5, 9].map((offsetMs) => world.createNode(offsetMs));
        let admitted = 0;
        for (const request of requests) {
          world.passMs(request.passMs);
          if (nodes[request.node]!.take()) admitted++;
        }
        // The rest at one node, after the others have given back what their minute left over.
        world.passMs(MINUTE_MS);
        for (const one of nodes) one.settle();
        while (admitted < limit && nodes[0]!.take()) admitted++;
        expect(admitted).toBe(limit);
        expect(nodes[0]!.take()).toBe(false);
      },
    ),
  );
});

it("under a steady load nearly the limit is used hour after hour, and 1/20 of it at most is lost with a crash", () => {
  const limit = 1_000;
  const world = createWorld({ limit });
  const [first, second] = [world.createNode(0), world.createNode(77)];
  const hours = 6;
  while (world.nowMs() < START_MS + hours * HOUR_MS) {
    first.take();
    second.take();
    world.passMs(2_000);
    first.settle();
    second.settle();
  }
  const used = world.admittedAtMs.length;
  // A bucket counts for up to 61 minutes, so an hour's worth comes back every 61.
  expect(used).toBeGreaterThan(hours * limit * (60 / 61) * 0.98);
  expect(mostInAnHour(world.admittedAtMs)).toBeLessThanOrEqual(limit);

  const crashed = createWorld({ limit });
  crashed.createNode(0).take();
  const survivor = crashed.createNode(0);
  while (survivor.take());
  expect(crashed.admittedAtMs.length).toBeGreaterThanOrEqual(limit - limit / 20);
});

it("a lease whose answer was lost comes back with the node's next call", () => {
  const world = createWorld({ limit: 100 });
  const one = world.createNode(0);
  one.take({ ...swift, lost: "answer" });
  world.passMs(MINUTE_MS);
  let admitted = 0;
  while (one.take()) admitted++;
  expect(admitted).toBe(100);
});

it("a refusal says when the next request fits, and then it does", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.nat(10 * MINUTE_MS), { minLength: 1, maxLength: 80 }),
      (limit, pauses) => {
        let leases: readonly Lease[] = [];
        let nowMs = START_MS;
        let callNo = 0;
        const ask = (spent: LeaseCall["spent"]): LeaseAnswer => {
          const call = { nodeId: "api_0", callNo: ++callNo, spent, wish: 1 };
          const decided = lease(leases, call, { limit, limitVersion: 1, nowMs });
          leases = decided.leases;
          return decided.answer;
        };
        for (const pause of pauses) {
          nowMs += pause;
          const spent = leases.map(({ minute, granted }) => ({ minute, spent: granted }));
          const answer = ask(spent);
          if (answer.status !== "exhausted") continue;
          nowMs += answer.retryAfterMs - 1;
          expect(ask(spent).status).toBe("exhausted");
          nowMs += 1;
          expect(ask(spent).status).toBe("granted");
        }
      },
    ),
  );
});

it("without a limit requests are admitted and counted", () => {
  const world = createWorld({ limit: null });
  const one = world.createNode(0);
  for (let n = 0; n < 500; n++) expect(one.take()).toBe(true);
  one.close();
  expect(world.leases().reduce((sum, item) => sum + item.spent, 0)).toBe(500);
});

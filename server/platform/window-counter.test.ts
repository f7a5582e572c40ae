import fc from "fast-check";
import { expect, it } from "vitest";
import { createWindowCounter } from "./window-counter.ts";

const WINDOW_MS = 60_000;

function open(mostKeys: number) {
  let nowMs = 0;
  const counter = createWindowCounter({ windowMs: WINDOW_MS, mostKeys, monotonicMs: () => nowMs });
  return { counter, pass: (ms: number) => void (nowMs += ms) };
}

it("a million addresses within one window are remembered up to the bound and no further", () => {
  const { counter, pass } = open(1_000);
  for (let n = 0; n < 1_000_000; n++) {
    counter.add(`2001:db8:${n.toString(16)}::/64`);
    if (n % 100 === 0) pass(1);
  }
  expect(counter.size()).toBe(1_000);
});

it("what is over is forgotten as others come, without a timer", () => {
  const { counter, pass } = open(1_000);
  for (let n = 0; n < 900; n++) counter.add(`early ${n}`);
  pass(WINDOW_MS);
  counter.add("late");
  expect(counter.size()).toBe(1);
});

it("without room that window goes which would have ended next", () => {
  const { counter, pass } = open(3);
  for (const key of ["a", "b", "c"]) {
    counter.add(key);
    pass(10);
  }
  counter.add("a");
  counter.add("d");
  expect(["a", "b", "c", "d"].map((key) => counter.look(key)?.count)).toEqual([undefined, 1, 1, 1]);
});

const steps = fc.array(
  fc.record({
    key: fc.constantFrom("a", "b", "c"),
    do: fc.constantFrom("add", "add", "add", "subtract", "pass" as const),
    ms: fc.nat(WINDOW_MS),
  }),
  { maxLength: 200 },
);

it("with room for all keys, each counts from its first request for exactly one window, whatever others do", () => {
  fc.assert(
    fc.property(steps, (commands) => {
      const { counter, pass } = open(3);
      const model = new Map<string, { count: number; endsAtMs: number }>();
      let nowMs = 0;
      for (const command of commands) {
        const { key } = command;
        if ((model.get(key)?.endsAtMs ?? 0) <= nowMs) model.delete(key);
        const known = model.get(key);
        if (command.do === "pass") {
          nowMs += command.ms;
          pass(command.ms);
        } else if (command.do === "subtract") {
          counter.subtract(key);
          if (known) known.count = Math.max(0, known.count - 1);
        } else {
          const entry = known ?? { count: 0, endsAtMs: nowMs + WINDOW_MS };
          entry.count++;
          model.set(key, entry);
          expect(counter.add(key)).toEqual({ count: entry.count, resetMs: entry.endsAtMs - nowMs });
        }
        const now = model.get(key);
        const lives = now !== undefined && now.endsAtMs > nowMs;
        expect(counter.look(key)?.count).toBe(lives ? now.count : undefined);
      }
    }),
  );
});

import { expect, it, onTestFinished, vi } from "vitest";
import { createRunLease } from "./run-lease.ts";

/** A lease of one second, taken by a request that was sent at 1,000 ms; time passes only as a test lets it. */
function open() {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  let nowMs = 1_000;
  const clock = { now: () => new Date(0), monotonicMs: () => nowMs };
  const lease = createRunLease({ clock, leaseMs: 1_000, sentAtMs: 1_000 });
  return {
    lease,
    /** A process that is frozen lets time pass without its timers. */
    freezeMs: (ms: number) => void (nowMs += ms),
    async passMs(ms: number) {
      nowMs += ms;
      await vi.advanceTimersByTimeAsync(ms);
    },
  };
}

it("a lease ends by itself, counted from before its request was sent", async () => {
  const { lease, passMs } = open();
  await passMs(999);
  expect(lease.isValid()).toBe(true);
  expect(lease.signal.aborted).toBe(false);
  await passMs(1);
  expect(lease.isValid()).toBe(false);
  expect(lease.signal.reason).toMatchObject({ stop: { kind: "lost" } });
});

it("an extension counts from when its request was sent, however late the answer came", async () => {
  const { lease, passMs } = open();
  await passMs(900);
  lease.extend(1_200);
  await passMs(250);
  expect(lease.isValid()).toBe(true);
  await passMs(50);
  expect(lease.isValid()).toBe(false);
  expect(lease.signal.aborted).toBe(true);
});

it("an answer to an older request never shortens a lease", async () => {
  const { lease, passMs } = open();
  lease.extend(1_500);
  lease.extend(1_100);
  await passMs(1_400);
  expect(lease.isValid()).toBe(true);
  lease.close();
});

it("after a freeze a lease is over before any timer has said so, and a late extension does not revive it", () => {
  const { lease, freezeMs } = open();
  freezeMs(60_000);
  expect(lease.isValid()).toBe(false);
  lease.extend(1_500);
  expect(lease.isValid()).toBe(false);
  lease.close();
});

it("the first reason to stop stays, except that a lost lease outdoes every other", () => {
  const { lease } = open();
  lease.stop({ kind: "shutdown" });
  lease.stop({ kind: "wall_time" });
  expect(lease.stopped()).toEqual({ kind: "shutdown" });
  expect(lease.isValid()).toBe(true);
  lease.stop({ kind: "lost" });
  expect(lease.stopped()).toEqual({ kind: "lost" });
  expect(lease.isValid()).toBe(false);
  lease.close();
});

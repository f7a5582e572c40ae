import fc from "fast-check";
import { afterEach, expect, it, vi } from "vitest";
import type { Ledger } from "../../ledger/ledger.ts";
import { createLogger } from "../../platform/log.ts";
import { Secret } from "../../platform/secret.ts";
import { createAgentTime } from "./run-agent-time.ts";
import { createRunLease } from "./run-lease.ts";

afterEach(() => void vi.useRealTimers());

const SLICE_MS = 15_000;
const LEASE_MS = 3_600_000;

type Answer = { thereMs: number; backMs: number; lost: boolean };

/**
 * A run whose bookings travel as said, against a database that grants so much in all. Time passes only by timers, and is
 * the same for both sides: what the run thinks of it is compared with what the database knows.
 */
function open(options: { answers: readonly Answer[]; limitMs: number }) {
  vi.useFakeTimers();
  const startMs = Date.now();
  const clock = { now: () => new Date(), monotonicMs: () => Date.now() - startMs };
  const lease = createRunLease({ clock, leaseMs: LEASE_MS, sentAtMs: 0 });
  const granted: { no: number; atMs: number; ms: number }[] = [];
  let sent = 0;
  const pass = (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms));
  const ledger: Pick<Ledger, "leaseAgentTime" | "noteRefusedTime"> = {
    async leaseAgentTime({ bookingNo, sliceMs }) {
      const answer = options.answers[sent++ % options.answers.length];
      await pass(answer?.thereMs ?? 0);
      const known = granted.find((one) => one.no === bookingNo);
      const left = options.limitMs - granted.reduce((sum, one) => sum + one.ms, 0);
      const ms = known?.ms ?? Math.min(sliceMs, left);
      if (!known && ms >= 1_000) granted.push({ no: bookingNo, atMs: clock.monotonicMs(), ms });
      await pass(answer?.backMs ?? 0);
      if (answer?.lost) throw new Error("Connection terminated unexpectedly");
      if (!known && ms < 1_000)
        return {
          status: "exhausted",
          level: "task",
          scopeId: "task_1",
          period: "all",
          limit: options.limitMs,
          posted: options.limitMs - left,
          held: 0,
          needed: 1_000,
        };
      return { status: "granted", ms };
    },
    noteRefusedTime: () => Promise.resolve(),
  };
  const time = createAgentTime({
    ledger,
    clock,
    lease,
    claimedAtMs: 0,
    claim: {
      workspaceId: "ws_1",
      runId: "run_1",
      taskId: "task_1",
      epoch: 1,
      token: new Secret("a token"),
    },
    sliceMs: SLICE_MS,
    log: createLogger({ level: "silent" }),
  });
  return { clock, lease, time, granted };
}

/** What the database has granted by then, and when it would have been used up by a run that began at the first grant. */
function endsAtMs(granted: readonly { atMs: number; ms: number }[]): number {
  return (granted[0]?.atMs ?? 0) + granted.reduce((sum, one) => sum + one.ms, 0);
}

it("a slice counts from before its request was sent, however late the answer came", async () => {
  const { lease, time, clock } = open({
    answers: [
      { thereMs: 4_000, backMs: 3_000, lost: false },
      { thereMs: 0, backMs: 0, lost: false },
    ],
    limitMs: SLICE_MS,
  });
  const starting = time.start();
  await vi.advanceTimersByTimeAsync(SLICE_MS - 1);
  expect(lease.stopped()).toBeUndefined();
  await vi.advanceTimersByTimeAsync(1);
  await starting;
  expect(clock.monotonicMs()).toBe(SLICE_MS);
  expect(lease.stopped()).toMatchObject({ kind: "agent_time", reason: { limit: SLICE_MS } });
});

it("an answer that comes after its slice is over lets nothing run", async () => {
  const { lease, time } = open({
    answers: [{ thereMs: 0, backMs: SLICE_MS + 1, lost: false }],
    limitMs: SLICE_MS,
  });
  const starting = time.start();
  await vi.advanceTimersByTimeAsync(SLICE_MS + 1);
  await starting;
  expect(lease.signal.aborted).toBe(true);
});

it("whatever is late or lost, a run stops no later than the database's count of its time", async () => {
  const answer = fc.record({
    thereMs: fc.oneof(fc.nat(50), fc.nat(20_000)),
    backMs: fc.oneof(fc.nat(50), fc.nat(20_000)),
    lost: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(answer, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1_000, max: 90_000 }),
      async (answers, limitMs) => {
        const { lease, time, granted, clock } = open({ answers, limitMs });
        let stoppedAtMs: number | undefined;
        lease.signal.addEventListener("abort", () => (stoppedAtMs = clock.monotonicMs()));
        let beganAtMs = Number.POSITIVE_INFINITY;
        const starting = time.start().then(
          () => (beganAtMs = clock.monotonicMs()),
          () => undefined,
        );
        await vi.advanceTimersByTimeAsync(600_000);
        await starting;
        // Who could not book a first slice does not run at all.
        if (beganAtMs < Number.POSITIVE_INFINITY) {
          expect(stoppedAtMs).toBeDefined();
          // A run begins once its first slice is booked, and not at all when that is over by then. A timer is a
          // millisecond at the finest.
          expect(stoppedAtMs).toBeLessThanOrEqual(Math.max(beganAtMs, endsAtMs(granted) + 1));
        }
        const total = granted.reduce((sum, one) => sum + one.ms, 0);
        expect(total).toBeLessThanOrEqual(limitMs);
        const ending = time.end();
        await vi.advanceTimersByTimeAsync(600_000);
        await ending;
        lease.close();
        vi.useRealTimers();
      },
    ),
    { numRuns: 200 },
  );
});

import { expect, it, onTestFinished } from "vitest";
import type { AgentTimeOutcome } from "../../ledger/calls.ts";
import { createLedger, type Ledger } from "../../ledger/ledger.ts";
import { systemClock } from "../../platform/clock.ts";
import { createLogger } from "../../platform/log.ts";
import { Secret } from "../../platform/secret.ts";
import { createTestDatabase } from "../../test/database.ts";
import { createClaimedRun, createTenant } from "../../test/tenant.ts";
import { createAgentTime } from "./run-agent-time.ts";
import { createRunLease } from "./run-lease.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_time" });
const log = createLogger({ level: "silent" });
const LONG_MS = 3_600_000;

/** The agent time of a run of its own, asked for over a connection that loses the answers to the given requests. */
async function open(options: {
  sliceMs: number;
  lost: (request: number) => boolean;
  /** What came with the claim. */
  agentTime?: AgentTimeOutcome;
}) {
  const run = await createClaimedRun(admin, await createTenant(admin));
  const { clock, sentAtMs } = { clock: systemClock, sentAtMs: systemClock.monotonicMs() };
  const lease = createRunLease({ clock, leaseMs: LONG_MS, sentAtMs });
  onTestFinished(() => lease.close());
  let requests = 0;
  const refused: object[] = [];
  const overConnection: Pick<Ledger, "leaseAgentTime" | "noteRefusedTime"> = {
    async leaseAgentTime(request) {
      const isLost = options.lost(++requests);
      const answer = await ledger.leaseAgentTime(request);
      if (isLost) throw new Error("Connection terminated unexpectedly");
      return answer;
    },
    noteRefusedTime(one) {
      refused.push(one);
      return Promise.resolve();
    },
  };
  const { sliceMs, agentTime } = options;
  const claim = { ...run, token: new Secret(run.token), ...(agentTime && { agentTime }) };
  const time = createAgentTime({
    ledger: overConnection,
    clock,
    claim,
    claimedAtMs: sentAtMs,
    lease,
    sliceMs,
    log,
  });
  async function giveBack(): Promise<void> {
    await ledger.returnAgentTime({ ...run, unusedMs: await time.end() });
  }
  async function booked(): Promise<{ slices: number; kept: number }> {
    const { rows } = await admin.query<{ slices: number; kept: number }>(
      "SELECT count(*)::int AS slices, coalesce(sum(granted_ms - returned_ms), 0)::int AS kept FROM time_slices WHERE run_id = $1",
      [run.runId],
    );
    return rows[0]!;
  }
  const suspend = () =>
    admin.query("UPDATE workspaces SET suspended = 'operator' WHERE workspace_id = $1", [
      run.workspaceId,
    ]);
  return { run, time, giveBack, booked, lease, suspend, refused, requests: () => requests };
}

it("a booking whose answer was lost is asked for again and not made twice", async () => {
  // The second booking is due after 1.2 of these 1.8 seconds.
  const { time, giveBack, booked, lease, requests } = await open({
    sliceMs: 1_800,
    lost: (n) => n === 2,
  });
  const startedMs = systemClock.monotonicMs();
  await time.start();
  await expect.poll(requests, { timeout: 20_000 }).toBeGreaterThanOrEqual(3);
  await giveBack();
  const usedMs = systemClock.monotonicMs() - startedMs;
  expect(lease.stopped()).toBeUndefined();
  const { slices, kept } = await booked();
  expect(slices).toBeLessThan(requests());
  // Nothing is paid beyond the time that passed.
  expect(kept).toBeLessThanOrEqual(Math.ceil(usedMs));
});

it("time whose booking was never answered is given back when the run stops", async () => {
  const { time, giveBack, booked } = await open({ sliceMs: LONG_MS, lost: (n) => n === 1 });
  await expect(time.start()).rejects.toThrow("Connection terminated");
  expect(await booked()).toEqual({ slices: 1, kept: LONG_MS });
  await giveBack();
  const { slices, kept } = await booked();
  expect(slices).toBe(1);
  expect(kept).toBeLessThan(LONG_MS / 2);
});

it("time whose booking is answered only while the run stops is given back, too", async () => {
  const { time, giveBack, booked } = await open({ sliceMs: LONG_MS, lost: () => false });
  const starting = time.start();
  await giveBack();
  await starting;
  const { slices, kept } = await booked();
  expect(slices).toBe(1);
  expect(kept).toBeLessThan(LONG_MS / 2);
});

it("a run of a suspended workspace stops where its booked time ends, and says why", async () => {
  const { time, giveBack, lease, suspend, requests } = await open({
    sliceMs: 1_500,
    lost: () => false,
  });
  await time.start();
  await suspend();
  await expect
    .poll(() => lease.stopped(), { timeout: 20_000 })
    .toEqual({
      kind: "agent_time",
      reason: { kind: "suspended", reason: "operator" },
    });
  expect(requests()).toBe(2);
  await giveBack();
});

it("a slice that came with the claim is gone on from, under the next number", async () => {
  const agentTime = { status: "granted", ms: 900 } as const;
  const { run, time, giveBack, booked, lease, requests } = await open({
    sliceMs: 900,
    lost: () => false,
    agentTime,
  });
  await ledger.leaseAgentTime({ ...run, bookingNo: 1, sliceMs: 900 });
  await time.start();
  expect(requests()).toBe(0);
  await expect.poll(booked, { timeout: 20_000 }).toMatchObject({ slices: 2 });
  expect(lease.stopped()).toBeUndefined();
  await giveBack();
});

it("a first slice that was refused with the claim stops the run with its reason, and counts as demand", async () => {
  const refusal = {
    status: "exhausted",
    level: "task",
    scopeId: "task_1",
    period: "all",
    limit: 500,
    posted: 500,
    held: 0,
    needed: 1_000,
  } as const;
  const { run, time, lease, refused, requests } = await open({
    sliceMs: 900,
    lost: () => false,
    agentTime: refusal,
  });
  await time.start();
  expect(requests()).toBe(0);
  expect(lease.stopped()).toMatchObject({
    kind: "agent_time",
    reason: { kind: "limit", meter: "agent_time", level: "task", limit: 500 },
  });
  expect(refused).toEqual([{ workspaceId: run.workspaceId, runId: run.runId, refusal }]);
  expect(await time.end()).toBe(0);
});

import fc from "fast-check";
import { expect, it } from "vitest";
import { commands } from "./command-fixture.ts";
import * as reconciling from "./kernel-reconcile.ts";
import * as kernel from "./kernel.ts";
import { budgetKey, type State } from "./kernel-state.ts";
import { memoryWorld, START_MS, stateOf } from "./operation-fixture.ts";
import { checkQuiet, playOnKernel } from "./play-fixture.ts";
import { readRegressions, sizes, timeLimitMs, tryAll } from "./proof-fixture.ts";

const rounds = commands.map((all) => all.map((command) => [command]));

it(
  `no sequence of what can happen breaks a law of the ledger, in ${sizes.kernel} tries`,
  () =>
    tryAll({
      property: "kernel",
      runs: sizes.kernel,
      rounds,
      play: (rounds) => {
        playOnKernel(rounds.flat());
      },
    }),
  timeLimitMs(sizes.kernel, 20),
);

it.each(readRegressions())("the sequence of $name breaks no law: $regression.law", (found) => {
  playOnKernel(found.regression.rounds.flat());
});

it("random sequences reach every end of a hold, every refusal and every kind of line", () => {
  const seen = new Set<string>();
  for (const all of fc.sample(commands, { numRuns: 200, seed: 1 })) {
    const state = playOnKernel(all);
    for (const hold of state.holds.values()) seen.add(hold.state);
    for (const line of state.lines) seen.add(`${line.kind} of ${line.level}`);
    for (const limit of [...state.limits.values(), ...state.topLimits.values()])
      seen.add(limit.amount === null ? "no limit" : `version ${Math.min(limit.version, 3)}`);
  }
  const kinds = ["settle", "provisional", "lowered", "agent_time", "agent_time_returned"];
  const levels = ["run", "task", "agent", "workspace", "owner", "platform"];
  const lines = kinds.flatMap((kind) => levels.map((level) => `${kind} of ${level}`));
  const states = ["HELD", "DISPATCHED", "SETTLED", "PROVISIONAL", "VOID"];
  const limits = ["no limit", "version 1", "version 2", "version 3"];
  expect([...seen]).toEqual(
    expect.arrayContaining([...states, ...lines, ...limits, "overrun of overrun"]),
  );
});

const [{ workspaceId, runId, taskId }] = memoryWorld.runs as [(typeof memoryWorld.runs)[number]];
const ask = {
  workspaceId,
  runId,
  epoch: 1,
  attemptNo: 1,
  ownerId: "gw_0.1",
  priceVersion: "p1",
  inputNanoUsd: 10,
  outputNanoUsdPerToken: 1,
  maxTokens: 5,
  minTokens: 1,
  dispatch: true,
};

it("a second settlement, a voided dispatch and a stale epoch change nothing, wherever they come", () => {
  fc.assert(
    fc.property(commands, (all) => {
      const state = playOnKernel(all);
      for (const hold of state.holds.values()) {
        const at = { workspaceId: hold.workspaceId, holdId: hold.id };
        const attempt = (outcome: "settled" | "provisional" | "void") =>
          kernel.settle(state, { ...at, outcome, actualNanoUsd: 0 }).events;
        if (hold.state !== "HELD") expect(attempt("void")).toEqual([]);
        if (hold.state !== "DISPATCHED") expect(attempt("provisional")).toEqual([]);
        if (!["DISPATCHED", "PROVISIONAL"].includes(hold.state))
          expect(attempt("settled")).toEqual([]);
        const proof = { kind: "request" } as const;
        const reconciled = reconciling.reconcile(state, { ...at, chargedNanoUsd: 0, proof });
        if (hold.state !== "PROVISIONAL") expect(reconciled.events).toEqual([]);
      }
      for (const [id, run] of state.runs) {
        const stale = { workspaceId: run.workspaceId, runId: id, epoch: run.epoch - 1 };
        const lease = { ...stale, bookingNo: 1, sliceMs: 1_000 };
        expect(kernel.leaseAgentTime(state, lease).outcome).toEqual({ status: "stale" });
        expect(kernel.returnAgentTime(state, { ...stale, unusedMs: 1 }).outcome).toBe(false);
        const admission = { ...ask, ...stale, holdId: "hold_stale" };
        expect(kernel.reserve(state, admission)).toMatchObject({
          events: [],
          outcome: { status: "stale" },
        });
      }
    }),
    { numRuns: 100 },
  );
});

it("at least 99 % of a budget of 20 worst cases can be used, by two gateways with calls that cost anything", () => {
  const price = 5;
  const worst = 900 + 820 * price;
  fc.assert(
    fc.property(
      fc.integer({ min: 20 * worst, max: 40 * worst }),
      fc.infiniteStream(fc.record({ percent: fc.integer({ min: 1, max: 100 }), open: fc.nat(3) })),
      (budget, calls) => {
        const limit = { workspaceId, meter: "model_cost", level: "task", scopeId: taskId } as const;
        let { state } = kernel.setLimit(stateOf(memoryWorld), { ...limit, amount: budget });
        const open: { holdId: string; actualNanoUsd: number }[] = [];
        const settle = () => {
          const { holdId, actualNanoUsd } = open.shift()!;
          const end = { workspaceId, holdId, outcome: "settled", actualNanoUsd } as const;
          ({ state } = kernel.settle(state, end));
        };
        for (let n = 0, refused = 0; refused < 2; n++) {
          const holdId = `hold_${n}`;
          const decided = kernel.reserve(state, {
            ...ask,
            holdId,
            callNo: n + 1,
            ownerId: `gw_${n % 2}.1`,
            inputNanoUsd: 900,
            outputNanoUsdPerToken: price,
            maxTokens: 820,
            minTokens: 10,
          });
          ({ state } = decided);
          const { outcome } = decided;
          const [call] = calls.take(1);
          if (outcome.status === "held") {
            refused = 0;
            const actualNanoUsd = Math.ceil((outcome.amountNanoUsd * call!.percent) / 100);
            open.push({ holdId, actualNanoUsd });
          } else if (open.length === 0) refused++;
          // Whoever waits for money that is held waits until all has returned.
          while (open.length > (outcome.status === "held" ? call!.open : 0)) settle();
        }
        const key = { level: "task", scopeId: taskId, period: "all" } as const;
        const row = state.budgets.get(budgetKey(workspaceId, "model_cost", key));
        expect(row!.posted).toBeLessThanOrEqual(budget);
        expect(row!.posted).toBeGreaterThanOrEqual(budget * 0.99);
        checkQuiet(state);
      },
    ),
    { numRuns: 200 },
  );
});

it("what was admitted before the period turned is booked before it turned; new calls count anew", () => {
  const account = (level: "workspace" | "platform", period: string) => {
    const scopeId = level === "workspace" ? workspaceId : "platform";
    return budgetKey(workspaceId, "model_cost", { level, scopeId, period });
  };
  let state: State = { ...stateOf(memoryWorld), nowMs: Date.UTC(2028, 1, 29, 23, 59, 59, 999) };
  ({ state } = kernel.reserve(state, { ...ask, holdId: "hold_old" }));
  state = { ...state, nowMs: state.nowMs + 1 };
  ({ state } = kernel.reserve(state, { ...ask, holdId: "hold_new" }));
  const end = { workspaceId, outcome: "settled" } as const;
  ({ state } = kernel.settle(state, { ...end, holdId: "hold_old", actualNanoUsd: 7 }));
  ({ state } = kernel.settle(state, { ...end, holdId: "hold_new", actualNanoUsd: 9 }));
  const balance = (level: "workspace" | "platform", period: string) =>
    state.budgets.get(account(level, period));
  expect(balance("workspace", "2028-02")).toMatchObject({ posted: 7, held: 0 });
  expect(balance("workspace", "2028-03")).toMatchObject({ posted: 9, held: 0 });
  expect(balance("platform", "2028-02-29")).toMatchObject({ posted: 7, held: 0 });
  expect(balance("platform", "2028-03-01")).toMatchObject({ posted: 9, held: 0 });
});

it("a limit lowered below what is spent and held refuses new calls, honours open ones, and lets go on when raised", () => {
  const limit = {
    workspaceId,
    meter: "model_cost",
    level: "workspace",
    scopeId: workspaceId,
  } as const;
  let { state } = kernel.reserve(stateOf(memoryWorld), { ...ask, holdId: "hold_1" });
  ({ state } = kernel.setLimit(state, { ...limit, amount: 3 }));
  const refused = kernel.reserve(state, { ...ask, holdId: "hold_2" });
  expect(refused.outcome).toMatchObject({ status: "exhausted", level: "workspace", held: 15 });
  const end = { workspaceId, holdId: "hold_1", outcome: "settled", actualNanoUsd: 15 } as const;
  const settled = kernel.settle(refused.state, end);
  expect(settled.outcome).toEqual({ status: "done", postedNanoUsd: 15, overrunNanoUsd: 0 });
  ({ state } = kernel.setLimit(settled.state, { ...limit, amount: 30 }));
  const { outcome } = kernel.reserve(state, { ...ask, holdId: "hold_3" });
  expect(outcome).toMatchObject({ status: "held", amountNanoUsd: 15 });
});

const PROVISIONAL_MS = START_MS + 60_000;

/** A hold that was dispatched by a process that went silent, and was posted in full. */
function provisional(): State {
  let { state } = kernel.reserve(stateOf(memoryWorld), { ...ask, holdId: "hold_1" });
  state = { ...state, nowMs: PROVISIONAL_MS };
  const rule = { deadAfterMs: 30_000, heldForMs: 60_000, atMost: 1 };
  ({ state } = kernel.reap(state, rule));
  return state;
}
const charge = (chargedNanoUsd: number) => ({ workspaceId, holdId: "hold_1", chargedNanoUsd });
const report = (finalBeforeMs: number) => ({ kind: "report", finalBeforeMs }) as const;

it("a report of the provider lowers a charge only when its process is known to have ended before the report did", () => {
  const silent = { ...provisional(), nowMs: PROVISIONAL_MS + 86_400_000 };
  const early = reconciling.reconcile(silent, { ...charge(0), proof: report(silent.nowMs) });
  expect(early).toMatchObject({ outcome: { status: "not_final" }, events: [] });

  const { state: ended } = reconciling.processEnded(silent, ask.ownerId);
  const endedAtMs = ended.nowMs;
  const later = { ...ended, nowMs: endedAtMs + 10 };
  const at = (finalBeforeMs: number) =>
    reconciling.reconcile(later, { ...charge(0), proof: report(finalBeforeMs) }).outcome;
  expect(at(endedAtMs)).toEqual({ status: "not_final" });
  expect(at(endedAtMs + 11)).toEqual({ status: "not_final" });
  expect(at(endedAtMs + 1)).toEqual({ status: "done", postedNanoUsd: 0, overrunNanoUsd: 0 });
});

it("the provider's figure of the request itself lowers a charge at once, and books on the platform what it exceeds", () => {
  const state = provisional();
  const by = (chargedNanoUsd: number) =>
    reconciling.reconcile(state, { ...charge(chargedNanoUsd), proof: { kind: "request" } }).outcome;
  expect(by(4)).toEqual({ status: "done", postedNanoUsd: 4, overrunNanoUsd: 0 });
  expect(by(18)).toEqual({ status: "done", postedNanoUsd: 15, overrunNanoUsd: 3 });
});

it("a process that is known to have ended is reaped at once, and its end is told once", () => {
  const { state: held } = kernel.reserve(stateOf(memoryWorld), { ...ask, holdId: "hold_1" });
  const { state: seen } = kernel.processSeen(held, ask.ownerId);
  const rule = { deadAfterMs: 30_000, heldForMs: 60_000, atMost: 1 };
  expect(kernel.reap(seen, rule).outcome).toEqual({ voided: 0, provisional: 0 });
  const { state: ended } = reconciling.processEnded(seen, ask.ownerId);
  expect(kernel.reap(ended, rule).outcome).toEqual({ voided: 0, provisional: 1 });
  const again = { ...ended, nowMs: ended.nowMs + 5 };
  expect(reconciling.processEnded(again, ask.ownerId).state.endedProcesses).toEqual(
    ended.endedProcesses,
  );
});

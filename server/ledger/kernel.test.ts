import fc from "fast-check";
import { expect, it } from "vitest";
import {
  command,
  decide,
  memoryWorld,
  type Operation,
  operationOf,
  REAP,
  START_MS,
  stateOf,
} from "./command-fixture.ts";
import { levelsOf } from "./kernel-levels.ts";
import * as kernel from "./kernel.ts";
import {
  type Budget,
  budgetKey,
  type Hold,
  isTopLevel,
  type SeenLevel,
  type State,
  type TimeSlice,
} from "./kernel-state.ts";

const isOpen = (hold: Hold): boolean => hold.state === "HELD" || hold.state === "DISPATCHED";
const accountOf = (account: Parameters<typeof budgetKey>[2]): string =>
  [account.level, account.scopeId, account.period].join("|");

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

function rowsBelow(state: State, level: SeenLevel, meter: string): Budget[] {
  return [...state.budgets.values()].filter(
    (row) => row.meter === meter && accountOf(row) === accountOf(level),
  );
}

/** A cheap assertion: these run some hundred thousand times. */
function must(condition: boolean, detail: () => unknown): void {
  if (!condition) expect.fail(JSON.stringify(detail()));
}

/** What an admission may never do: exceed a limit in force at any level, shared ones counted over all workspaces. */
function expectAllowed(state: State, admitted: Hold | TimeSlice, meter: string): void {
  for (const level of admitted.levels) {
    const below = rowsBelow(state, level, meter);
    const top = [...state.tops.values()].find(
      (top) => top.meter === meter && accountOf(top) === accountOf(level),
    );
    const shared = isTopLevel(level.level) && below.every((row) => row.limit !== null);
    const rows = shared ? below : below.filter((row) => row.workspaceId === admitted.workspaceId);
    const limit = shared ? top?.limit : rows[0]?.limit;
    const used = sum(rows.map((row) => row.posted + row.held));
    must(limit === undefined || limit === null || used <= limit, () => [level, used, limit]);
  }
}

/** What holds in every state: balances are the sums of what they stand for. */
function expectConsistent(state: State): void {
  const booked = new Map<string, number>();
  const once = new Set<string>();
  for (const line of state.lines) {
    const key = budgetKey(line.workspaceId, line.meter, line);
    booked.set(key, (booked.get(key) ?? 0) + line.amount);
    if (line.holdId === undefined) continue;
    const kind = line.kind === "provisional" ? "settle" : line.kind;
    must(!once.has(`${key}|${line.holdId}|${kind}`), () => line);
    once.add(`${key}|${line.holdId}|${kind}`);
  }
  const held = new Map<string, number>();
  for (const hold of open(state))
    for (const level of hold.levels) {
      const key = budgetKey(hold.workspaceId, "model_cost", level);
      held.set(key, (held.get(key) ?? 0) + hold.amount);
    }
  for (const [key, row] of state.budgets) {
    must(row.posted === (booked.get(key) ?? 0) && row.posted >= 0, () => [key, row]);
    must(row.held === (held.get(key) ?? 0), () => [key, row]);
  }
  for (const top of state.tops.values()) {
    const rows = [...state.budgets.values()].filter(
      (row) => row.meter === top.meter && accountOf(row) === accountOf(top),
    );
    const handed = sum(rows.map((row) => row.limit ?? 0));
    must(handed === top.granted || rows.some((row) => row.limit === null), () => [top, rows]);
  }
}

/** The tenant is charged or held for all that a provider may have seen, and never for more than was held. */
function expectCovered(state: State, sent: ReadonlyMap<string, number>): void {
  for (const hold of state.holds.values()) {
    const covered = (hold.posted ?? (isOpen(hold) ? hold.amount : 0)) + hold.overrun;
    must(covered >= (sent.get(hold.id) ?? 0), () => hold);
    must((hold.posted ?? 0) <= hold.amount, () => hold);
  }
}

function expectHolds(before: State, operation: Operation, after: State): void {
  expectConsistent(after);
  for (const [key, hold] of after.holds) {
    const was = before.holds.get(key);
    if (!was) expectAllowed(after, hold, "model_cost");
    else must(was.posted === null || (hold.posted ?? 0) <= was.posted, () => [was, hold]);
  }
  for (const [key, slice] of after.slices)
    if (!before.slices.has(key)) expectAllowed(after, slice, "agent_time");
  if (operation.type === "reserve" && after.holds.size > before.holds.size) {
    const run = before.runs.get(operation.ask.runId);
    expect(run).toMatchObject({ state: "claimed", epoch: operation.ask.epoch });
  }
}

function open(state: State): Hold[] {
  return [...state.holds.values()].filter(isOpen);
}

it("no sequence of commands overshoots a limit, loses or doubles a booking, or leaves money held after quiet", () => {
  fc.assert(
    fc.property(fc.array(command, { minLength: 10, maxLength: 80 }), (commands) => {
      let state = stateOf(memoryWorld);
      let holds = 0;
      const sent = new Map<string, number>();
      for (const one of commands) {
        const operation = operationOf(one, {
          state,
          world: memoryWorld,
          newHoldId: () => `hold_${holds++}`,
        });
        if (!operation) continue;
        const next = decide(state, operation);
        expectHolds(state, operation, next.state);
        for (const hold of next.state.holds.values())
          // Unknown to us, so the worst that the provider can charge.
          if (hold.state === "DISPATCHED") sent.set(hold.id, hold.amount);
        if (operation.type === "settle" && operation.ask.outcome === "settled") {
          const done = (next.outcome as { status: string }).status === "done";
          if (done) sent.set(operation.ask.holdId, operation.ask.actualNanoUsd ?? 0);
        }
        expectCovered(next.state, sent);
        state = next.state;
      }
      state = { ...state, nowMs: state.nowMs + REAP.heldForMs + REAP.deadAfterMs };
      state = decide(state, { type: "reap" }).state;
      expectConsistent(state);
      expect(open(state)).toEqual([]);
      for (const row of state.budgets.values()) expect(row.held).toBe(0);
    }),
    { numRuns: 1_500 },
  );
});

it("a second settlement, a voided dispatch and a stale epoch change nothing, wherever they come", () => {
  fc.assert(
    fc.property(fc.array(command, { minLength: 5, maxLength: 40 }), (commands) => {
      let state = stateOf(memoryWorld);
      let holds = 0;
      for (const one of commands) {
        const at = { state, world: memoryWorld, newHoldId: () => `hold_${holds++}` };
        const operation = operationOf(one, at);
        if (operation) state = decide(state, operation).state;
      }
      for (const hold of state.holds.values()) {
        const { workspaceId, id: holdId } = hold;
        const attempt = (outcome: "settled" | "provisional" | "void") =>
          kernel.settle(state, { workspaceId, holdId, outcome, actualNanoUsd: 0 });
        if (hold.state !== "HELD") expect(attempt("void").events).toEqual([]);
        if (hold.state !== "DISPATCHED") expect(attempt("provisional").events).toEqual([]);
        if (!["DISPATCHED", "PROVISIONAL"].includes(hold.state))
          expect(attempt("settled").events).toEqual([]);
      }
      for (const [runId, run] of state.runs) {
        const stale = { workspaceId: run.workspaceId, runId, epoch: run.epoch - 1 };
        expect(
          kernel.leaseAgentTime(state, { ...stale, bookingNo: 1, sliceMs: 1_000 }).outcome,
        ).toEqual({
          status: "stale",
        });
        expect(kernel.returnAgentTime(state, { ...stale, unusedMs: 1 }).outcome).toBe(false);
      }
    }),
    { numRuns: 100 },
  );
});

it("with nothing open, a call is refused only by a level that truly leaves too little", () => {
  fc.assert(
    fc.property(
      fc.array(command, { maxLength: 40 }),
      fc.integer({ min: 1, max: 50 }),
      (commands, inputNanoUsd) => {
        let state = stateOf(memoryWorld);
        let holds = 0;
        for (const one of commands) {
          const at = { state, world: memoryWorld, newHoldId: () => `hold_${holds++}` };
          const operation = operationOf(one, at);
          if (operation) state = decide(state, operation).state;
        }
        for (const hold of open(state))
          state = kernel.settle(state, {
            workspaceId: hold.workspaceId,
            holdId: hold.id,
            outcome: hold.state === "HELD" ? "void" : "settled",
            actualNanoUsd: 1,
          }).state;
        for (const [runId, run] of state.runs) {
          if (run.state !== "claimed") continue;
          const { state: after, outcome } = kernel.reserve(state, {
            workspaceId: run.workspaceId,
            runId,
            epoch: run.epoch,
            holdId: "hold_last",
            callNo: 1_000,
            attemptNo: 1,
            ownerId: "gw_0",
            inputNanoUsd,
            outputNanoUsdPerToken: 1,
            maxTokens: 10,
            minTokens: 1,
            dispatch: true,
          });
          if (outcome.status === "held") continue;
          if (outcome.status !== "exhausted")
            expect.unreachable(`${outcome.status} with nothing open`);
          const level = levelsOf(after, runId).find((key) => key.level === outcome.level);
          const spent = sum(
            rowsBelow(after, { ...outcome, limitVersion: 0 }, "model_cost").map(
              (row) => row.posted + row.held,
            ),
          );
          const top = [...after.tops.values()].find(
            (top) => top.meter === "model_cost" && accountOf(top) === accountOf(level!),
          );
          const limit = top ? top.limit : outcome.limit;
          const used = top ? spent : outcome.posted;
          expect(limit - used).toBeLessThan(inputNanoUsd + 1);
        }
      },
    ),
    { numRuns: 200 },
  );
});

it("at least 99 % of a budget of 20 worst cases can be used, whatever the calls turn out to cost", () => {
  fc.assert(
    fc.property(fc.infiniteStream(fc.integer({ min: 1, max: 100 })), (percents) => {
      const budget = 100_000;
      let state = stateOf(memoryWorld);
      const [run] = memoryWorld.runs;
      const { workspaceId, runId, taskId } = run!;
      const change = { workspaceId, meter: "model_cost", level: "task", scopeId: taskId } as const;
      state = kernel.setLimit(state, { ...change, amount: budget }).state;
      for (let n = 0; ; n++) {
        const { state: held, outcome } = kernel.reserve(state, {
          workspaceId,
          runId,
          epoch: 1,
          holdId: `hold_${n}`,
          callNo: n + 1,
          attemptNo: 1,
          ownerId: "gw_0",
          inputNanoUsd: 900,
          outputNanoUsdPerToken: 5,
          maxTokens: 820,
          minTokens: 10,
          dispatch: true,
        });
        if (outcome.status !== "held") break;
        const [percent] = percents.take(1);
        const actualNanoUsd = Math.ceil((outcome.amountNanoUsd * percent!) / 100);
        const settle = { workspaceId, holdId: `hold_${n}`, outcome: "settled" } as const;
        state = kernel.settle(held, { ...settle, actualNanoUsd }).state;
      }
      const key = { level: "task", scopeId: taskId, period: "all" } as const;
      const row = state.budgets.get(budgetKey(workspaceId, "model_cost", key));
      expect(row!.posted).toBeLessThanOrEqual(budget);
      expect(row!.posted).toBeGreaterThanOrEqual(budget * 0.99);
    }),
    { numRuns: 20 },
  );
});

it("what was admitted before the period turned is booked before it turned; new calls count anew", () => {
  let state = stateOf(memoryWorld);
  const { workspaceId, runId } = memoryWorld.runs[0]!;
  const key = (period: string) =>
    budgetKey(workspaceId, "model_cost", { level: "workspace", scopeId: workspaceId, period });
  const ask = {
    workspaceId,
    runId,
    epoch: 1,
    attemptNo: 1,
    ownerId: "gw_0",
    inputNanoUsd: 10,
    outputNanoUsdPerToken: 1,
    maxTokens: 5,
    minTokens: 1,
    dispatch: true,
  };
  state = kernel.reserve(state, { ...ask, holdId: "hold_old" }).state;
  state = { ...state, nowMs: START_MS + 2 * 86_400_000 };
  state = kernel.reserve(state, { ...ask, holdId: "hold_new" }).state;
  for (const holdId of ["hold_old", "hold_new"])
    state = kernel.settle(state, {
      workspaceId,
      holdId,
      outcome: "settled",
      actualNanoUsd: holdId === "hold_old" ? 7 : 9,
    }).state;
  expect(state.budgets.get(key("2026-11"))).toMatchObject({ posted: 7, held: 0 });
  expect(state.budgets.get(key("2026-12"))).toMatchObject({ posted: 9, held: 0 });
});

/** Every order in which two gateways, one of which may die, can bring three calls to their ends under a limit of 5. */
it("every interleaving of two gateways and three calls keeps the limit, covers the provider and ends quiet", () => {
  const [run] = memoryWorld.runs;
  const { workspaceId, runId, taskId } = run!;
  const limit = { workspaceId, meter: "model_cost", level: "task", scopeId: taskId } as const;
  const start = kernel.setLimit(stateOf(memoryWorld), { ...limit, amount: 5 }).state;
  type Node = {
    state: State;
    dead: ReadonlySet<string>;
    lowered: boolean;
    sent: ReadonlyMap<string, number>;
  };
  const calls = [0, 1, 2].map((n) => ({
    holdId: `hold_${n}`,
    callNo: n + 1,
    owner: `gw_${n % 2}`,
  }));

  function steps(node: Node): Node[] {
    const { state, dead, sent } = node;
    const next: Node[] = [];
    const to = (decided: { state: State }, change: Partial<Node> = {}) =>
      next.push({ ...node, ...change, state: decided.state });
    for (const { holdId, callNo, owner } of calls) {
      const hold = state.holds.get(`${workspaceId}|${holdId}`);
      const settle = { workspaceId, holdId } as const;
      if (!hold && !dead.has(owner))
        for (const dispatch of [true, false]) {
          const decided = kernel.reserve(state, {
            workspaceId,
            runId,
            epoch: 1,
            holdId,
            callNo,
            attemptNo: 1,
            ownerId: owner,
            inputNanoUsd: 1,
            outputNanoUsdPerToken: 1,
            maxTokens: 2,
            minTokens: 1,
            dispatch,
          });
          if (decided.outcome.status !== "held") continue;
          const amount = decided.outcome.amountNanoUsd;
          to(decided, { sent: dispatch ? new Map(sent).set(holdId, amount) : sent });
        }
      if (!hold) continue;
      if (!dead.has(owner)) {
        const sending = kernel.dispatch(state, { workspaceId, holdId, ownerId: owner });
        if (sending.outcome) to(sending, { sent: new Map(sent).set(holdId, hold.amount) });
        // Also late: a gateway that was taken for dead comes back with the true figure. 4 is beyond any hold.
        for (const actualNanoUsd of [0, 1, 2, 3, 4]) {
          const ended = kernel.settle(state, { ...settle, outcome: "settled", actualNanoUsd });
          if (ended.outcome.status === "done")
            to(ended, { sent: new Map(sent).set(holdId, actualNanoUsd) });
        }
        to(kernel.settle(state, { ...settle, outcome: "provisional" }));
      }
      to(kernel.settle(state, { ...settle, outcome: "void" }));
    }
    for (const owner of ["gw_0", "gw_1"])
      if (!dead.has(owner)) next.push({ ...node, dead: new Set(dead).add(owner) });
    if (!node.lowered) to(kernel.setLimit(state, { ...limit, amount: 3 }), { lowered: true });
    // The reaper, who takes silent gateways for dead, whether they are or not.
    to(
      kernel.reap(
        { ...state, nowMs: state.nowMs + 1 },
        { deadAfterMs: 0, heldForMs: 0, atMost: 9 },
      ),
    );
    return next;
  }

  function keyOf(node: Node): string {
    const holds = [...node.state.holds.values()]
      .map((hold) =>
        [
          hold.id,
          hold.state,
          hold.amount,
          hold.posted,
          hold.overrun,
          node.sent.get(hold.id),
        ].join(),
      )
      .toSorted((a, b) => a.localeCompare(b));
    return [
      ...holds,
      [...node.dead].toSorted((a, b) => a.localeCompare(b)).join(),
      node.lowered,
    ].join(";");
  }

  const seen = new Set<string>();
  const queue: Node[] = [{ state: start, dead: new Set(), lowered: false, sent: new Map() }];
  for (let node = queue.pop(); node; node = queue.pop()) {
    const key = keyOf(node);
    if (seen.has(key)) continue;
    seen.add(key);
    expectConsistent(node.state);
    expectCovered(node.state, node.sent);
    for (const next of steps(node)) {
      expectHolds(node.state, { type: "reap" }, next.state);
      queue.push({ ...next, state: { ...next.state, nowMs: START_MS } });
    }
    const quiet = kernel.reap(
      { ...node.state, nowMs: START_MS + 1 },
      { deadAfterMs: 0, heldForMs: 0, atMost: 9 },
    );
    expect(open(quiet.state)).toEqual([]);
  }
  expect(seen.size).toBeGreaterThan(20_000);
}, 120_000);

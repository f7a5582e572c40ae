import { expect, it } from "vitest";
import * as kernel from "./kernel.ts";
import type { Hold, State } from "./kernel-state.ts";
import { decide, memoryWorld, type Operation, stateOf } from "./operation-fixture.ts";
import { checkHolds, checkSums, isOpen, must } from "./property-fixture.ts";

// Every order in which two gateways can bring three calls to their ends under a small limit: each may die, or be taken
// for dead and come back; a charge may be anything; the limit may be lowered. Not a sample: all of it, and counted.

const [{ workspaceId, runId, taskId }] = memoryWorld.runs as [(typeof memoryWorld.runs)[number]];
const gateways = ["gw_0.1", "gw_1.1"] as const;
const calls = [0, 1, 2].map((n) => ({
  holdId: `hold_${n}`,
  callNo: n + 1,
  ownerId: gateways[n % 2]!,
}));
type Call = (typeof calls)[number];

/** One input token and one or two of output: R is 3, or 2 when clamped. 4 is beyond any hold. */
const ask = { inputNanoUsd: 1, outputNanoUsdPerToken: 1, maxTokens: 2, minTokens: 1 };
const actuals = [0, 1, 2, 3, 4];

/** What the world knows of a call: whether its gateway may send it, and what the provider charges. `open`: up to R. */
type Fact = { maySend: boolean; charge: 0 | "open" | { final: number } };
type Node = {
  state: State;
  facts: ReadonlyMap<string, Fact>;
  dead: ReadonlySet<string>;
  lowered: boolean;
};
type Step = { operation: Operation; to: Node };

const holdOf = (state: State, call: Call): Hold | undefined =>
  state.holds.get(`${workspaceId}|${call.holdId}`);

function factOf(node: Node, call: Call): Fact {
  return node.facts.get(call.holdId) ?? { maySend: false, charge: 0 };
}

function know(node: Node, call: Call, fact: Partial<Fact>): Node["facts"] {
  return new Map(node.facts).set(call.holdId, { ...factOf(node, call), ...fact });
}

/** What a gateway that lives can do with its call. */
function gatewaySteps(node: Node, call: Call): Step[] {
  const steps: Step[] = [];
  const { state } = node;
  const { holdId, callNo, ownerId } = call;
  const fact = factOf(node, call);
  const step = (operation: Operation, learn: (outcome: unknown) => Partial<Fact> | undefined) => {
    const decided = decide(state, operation);
    const learnt = learn(decided.outcome);
    const facts = learnt ? know(node, call, learnt) : node.facts;
    steps.push({ operation, to: { ...node, state: decided.state, facts } });
  };
  if (!holdOf(state, call)) {
    for (const dispatch of [true, false]) {
      const admission = {
        ...ask,
        workspaceId,
        runId,
        epoch: 1,
        holdId,
        callNo,
        attemptNo: 1,
        ownerId,
        priceVersion: "p1",
        dispatch,
      };
      step({ type: "reserve", ask: admission }, (outcome) => ({
        maySend: dispatch && (outcome as { status: string }).status === "held",
      }));
    }
    return steps;
  }
  if (!fact.maySend)
    step({ type: "dispatch", ask: { workspaceId, holdId, ownerId }, foreign: false }, (told) =>
      told === true ? { maySend: true } : undefined,
    );
  // At once, or when a frozen gateway wakes up, whatever has become of the hold by then.
  if (fact.maySend && fact.charge === 0)
    steps.push({
      operation: { type: "seen", processId: ownerId },
      to: { ...node, facts: know(node, call, { charge: "open" }) },
    });
  const settle = { workspaceId, holdId } as const;
  // Once and again, for answers are lost.
  if (fact.charge !== 0)
    for (const actualNanoUsd of fact.charge === "open" ? actuals : [fact.charge.final])
      step({ type: "settle", ask: { ...settle, outcome: "settled", actualNanoUsd } }, () => ({
        charge: { final: actualNanoUsd },
      }));
  if (fact.maySend)
    step({ type: "settle", ask: { ...settle, outcome: "provisional" } }, () => ({}));
  return steps;
}

/** What others can do with a call: void it, or lower it by what the provider says. */
function otherSteps(node: Node, call: Call): Step[] {
  const { state } = node;
  if (!holdOf(state, call)) return [];
  const { holdId } = call;
  const fact = factOf(node, call);
  const steps: Step[] = [];
  const step = (operation: Operation, learnt?: Partial<Fact>) => {
    const facts = learnt ? know(node, call, learnt) : node.facts;
    steps.push({ operation, to: { ...node, state: decide(state, operation).state, facts } });
  };
  step({ type: "settle", ask: { workspaceId, holdId, outcome: "void" } });
  const say = (chargedNanoUsd: number, kind: "request" | "report"): Operation => ({
    type: "reconcile",
    ask: {
      workspaceId,
      holdId,
      chargedNanoUsd,
      proof: kind === "request" ? { kind } : { kind, finalBeforeMs: state.nowMs },
    },
  });
  if (fact.charge === 0) step(say(0, "report"));
  else
    for (const kind of ["request", "report"] as const)
      for (const final of fact.charge === "open" ? actuals : [fact.charge.final])
        step(say(final, kind), { charge: { final } });
  return steps;
}

function steps(node: Node, lowerTo: number): Step[] {
  const { state, dead } = node;
  const all = calls.flatMap((call) => [
    ...(dead.has(call.ownerId) ? [] : gatewaySteps(node, call)),
    ...otherSteps(node, call),
  ]);
  for (const processId of gateways)
    if (!dead.has(processId))
      all.push({
        operation: { type: "seen", processId },
        to: { ...node, dead: new Set(dead).add(processId) },
      });
    else if (!state.endedProcesses.has(processId)) {
      // Reports are as of now, so this was a moment ago.
      const { endedProcesses } = decide(
        { ...state, nowMs: state.nowMs - 1 },
        {
          type: "ended",
          processId,
        },
      ).state;
      all.push({
        operation: { type: "ended", processId },
        to: { ...node, state: { ...state, endedProcesses } },
      });
    }
  if (!node.lowered) {
    const limit = { workspaceId, meter: "model_cost", level: "task", scopeId: taskId } as const;
    const operation: Operation = { type: "limit", ask: { ...limit, amount: lowerTo } };
    all.push({ operation, to: { ...node, state: decide(state, operation).state, lowered: true } });
  }
  // The reaper takes every gateway for dead, whether it is or not.
  const late = { ...state, nowMs: state.nowMs + 1 };
  const reaped = kernel.reap(late, { deadAfterMs: 0, heldForMs: 0, atMost: 9 }).state;
  all.push({
    operation: { type: "reap" },
    to: { ...node, state: { ...reaped, nowMs: state.nowMs } },
  });
  return all;
}

/** Two calls of one gateway differ by name only, so their order does not count. */
function keyOf(node: Node): string {
  const describe = (call: Call): string => {
    const hold = holdOf(node.state, call);
    const { maySend, charge } = factOf(node, call);
    const said = typeof charge === "object" ? charge.final : charge;
    return hold
      ? [hold.state, hold.amount, hold.posted, hold.overrun, maySend, said].join()
      : "none";
  };
  const [first = "", second = "", third = ""] = calls.map(describe);
  const ofFirst = first < third ? `${first}/${third}` : `${third}/${first}`;
  const processes = gateways.map((id) => [node.dead.has(id), node.state.endedProcesses.has(id)]);
  return [ofFirst, second, processes.join(), node.lowered].join(";");
}

/** P2: what the provider charges, at most R while nobody knows it, is posted or held. */
function checkCovered(node: Node): void {
  for (const call of calls) {
    const hold = holdOf(node.state, call);
    if (!hold) continue;
    const { charge } = factOf(node, call);
    const known = typeof charge === "object" ? charge.final : charge;
    const truth = known === "open" ? hold.amount : known;
    const covered = isOpen(hold) ? hold.amount : (hold.posted ?? 0) + hold.overrun;
    // Beyond R only when somebody could tell.
    const bound = hold.state === "SETTLED" ? truth : Math.min(truth, hold.amount);
    must(covered >= bound, "P2 what the provider charges is posted or held", () => [charge, hold]);
  }
}

function checkQuiet(node: Node): void {
  const later = { ...node.state, nowMs: node.state.nowMs + 1 };
  const { state } = kernel.reap(later, { deadAfterMs: 0, heldForMs: 0, atMost: 9 });
  const open = [...state.holds.values()].filter(isOpen);
  must(open.length === 0, "P5 after quiet nothing is open", () => open);
}

function explore(limit: number, lowerTo: number): { states: number; steps: number } {
  const at = { workspaceId, meter: "model_cost", level: "task", scopeId: taskId } as const;
  const { state } = kernel.setLimit(stateOf(memoryWorld), { ...at, amount: limit });
  const start: Node = { state, facts: new Map(), dead: new Set(), lowered: false };
  const seen = new Set([keyOf(start)]);
  const queue = [start];
  let count = 0;
  for (let node = queue.pop(); node; node = queue.pop()) {
    for (const { operation, to } of steps(node, lowerTo)) {
      count++;
      checkHolds(node.state, operation, to.state);
      const key = keyOf(to);
      if (seen.has(key)) continue;
      seen.add(key);
      checkSums(to.state);
      checkCovered(to);
      checkQuiet(to);
      queue.push(to);
    }
  }
  return { states: seen.size, steps: count };
}

it.each([
  { limit: 4, lowerTo: 2, states: 19_971, steps: 247_233 },
  { limit: 5, lowerTo: 3, states: 119_808, steps: 1_692_777 },
])(
  "every interleaving of two gateways and three calls under a limit of $limit keeps all laws: $states states by $steps steps",
  ({ limit, lowerTo, states, steps }) => {
    expect(explore(limit, lowerTo)).toEqual({ states, steps });
  },
  300_000,
);

it("the holds of that scope count at every level of a run", () => {
  const { state } = kernel.reserve(stateOf(memoryWorld), {
    ...ask,
    workspaceId,
    runId,
    epoch: 1,
    holdId: "hold_0",
    attemptNo: 1,
    ownerId: gateways[0],
    priceVersion: "p1",
    dispatch: true,
  });
  const levels = holdOf(state, calls[0]!)!.levels.map((key) => key.level);
  expect(levels).toEqual(["run", "task", "agent", "workspace", "owner", "platform"]);
});

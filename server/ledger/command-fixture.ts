import fc from "fast-check";
import { levelsOf } from "./kernel-levels.ts";
import type { Reserve, Settle } from "./kernel.ts";
import * as kernel from "./kernel.ts";
import { emptyState, type Meter, type Run, type State, type TopLevel } from "./kernel-state.ts";

// Random commands for the ledger, as data: the same list runs over the kernel alone and over kernel and database.

/** What a command says before it is known which holds exist: `pick` chooses among those of the moment. */
export type Command =
  | ({ type: "reserve"; run: number; owner: number; again: number | null } & Pick<
      Reserve,
      "inputNanoUsd" | "outputNanoUsdPerToken" | "maxTokens" | "minTokens" | "dispatch"
    >)
  | { type: "dispatch"; pick: number; owner: number }
  | { type: "settle"; pick: number; outcome: Settle["outcome"]; actualNanoUsd: number }
  | { type: "reap" }
  | { type: "seen"; owner: number }
  | { type: "lease_time"; run: number; sliceMs: number; again: boolean }
  | { type: "return_time"; run: number; unusedMs: number; stale: boolean }
  | {
      type: "limit";
      level: "task" | "agent" | "workspace";
      run: number;
      meter: Meter;
      amount: number | null;
    }
  | { type: "top_limit"; level: TopLevel; meter: Meter; amount: number | null }
  | { type: "run"; run: number; state: Run["state"] }
  | { type: "tick"; ms: number };

const DAY_MS = 86_400_000;
const run = fc.integer({ min: 0, max: 4 });
const owner = fc.integer({ min: 0, max: 1 });
const pick = fc.nat(1_000);
const meter = fc.constantFrom<Meter>("model_cost", "agent_time");
const amount = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 1_500 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 60_000 }) },
  { weight: 1, arbitrary: fc.constant(null) },
);

export const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      type: fc.constant("reserve"),
      run,
      owner,
      again: fc.option(pick, { freq: 5 }),
      inputNanoUsd: fc.integer({ min: 1, max: 100 }),
      outputNanoUsdPerToken: fc.integer({ min: 0, max: 7 }),
      maxTokens: fc.integer({ min: 1, max: 60 }),
      minTokens: fc.integer({ min: 1, max: 20 }),
      dispatch: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("dispatch"), pick, owner }) },
  {
    weight: 9,
    arbitrary: fc.record({
      type: fc.constant("settle"),
      pick,
      outcome: fc.constantFrom("settled", "settled", "settled", "provisional", "void"),
      actualNanoUsd: fc.integer({ min: 0, max: 600 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("reap") }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("seen"), owner }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("lease_time"),
      run,
      sliceMs: fc.integer({ min: 1, max: 20_000 }),
      again: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("return_time"),
      run,
      unusedMs: fc.integer({ min: 0, max: 25_000 }),
      stale: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("limit"),
      level: fc.constantFrom("task", "agent", "workspace"),
      run,
      meter,
      amount,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("top_limit"),
      level: fc.constantFrom<TopLevel>("owner", "platform"),
      meter,
      amount,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("run"),
      run,
      // Mostly a fresh claim, so that sequences do not run dry.
      state: fc.constantFrom<Run["state"]>("claimed", "claimed", "claimed", "queued", "parked"),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("tick"),
      ms: fc.constantFrom(1_000, 20_000, 40_000, 70_000, DAY_MS, 31 * DAY_MS),
    }),
  },
);

/** Names of a world: two workspaces of one payer, a task with a child and a grandchild, two more tasks. */
export type World = {
  ownerId: string;
  /** Which workspace, agent and parent (by index) each run has. */
  runs: readonly {
    workspaceId: string;
    runId: string;
    taskId: string;
    agentId: string;
    parent: number | null;
    costLimitNanoUsd: number;
    agentTimeLimitMs: number;
    modelCallLimit: number;
  }[];
  processIds: readonly [string, string];
};

export const START_MS = Date.UTC(2026, 10, 29, 23, 59, 30);
export const REAP = { deadAfterMs: 30_000, heldForMs: 60_000, atMost: 1_000 };

/** The shape of a world; the names are given by who needs them to be rows. */
export const worldShape = [
  { workspace: 0, agent: 0, parent: null, costLimitNanoUsd: 3_000, modelCallLimit: 100 },
  { workspace: 0, agent: 1, parent: 0, costLimitNanoUsd: 1_000, modelCallLimit: 100 },
  { workspace: 0, agent: 0, parent: 1, costLimitNanoUsd: 600, modelCallLimit: 100 },
  { workspace: 0, agent: 1, parent: null, costLimitNanoUsd: 2_000, modelCallLimit: 3 },
  { workspace: 1, agent: 0, parent: null, costLimitNanoUsd: 2_000, modelCallLimit: 100 },
] as const;
export const WORLD_TIME_LIMIT_MS = 60_000;

/** A world that exists in memory only. */
export const memoryWorld: World = {
  ownerId: "ba_1",
  runs: worldShape.map((shape, n) => ({
    ...shape,
    workspaceId: `ws_${shape.workspace}`,
    runId: `run_${n}`,
    taskId: `task_${n}`,
    agentId: `agent_${shape.agent}`,
    agentTimeLimitMs: WORLD_TIME_LIMIT_MS,
  })),
  processIds: ["gw_0", "gw_1"],
};

/** The kernel's state of a world in which every run has been claimed once. */
export function stateOf(world: World): State {
  return {
    ...emptyState(START_MS),
    workspaces: new Map(world.runs.map((run) => [run.workspaceId, { ownerId: world.ownerId }])),
    tasks: new Map(
      world.runs.map((run) => [
        run.taskId,
        {
          agentId: run.agentId,
          parentTaskId: run.parent === null ? null : world.runs[run.parent]!.taskId,
          costLimitNanoUsd: run.costLimitNanoUsd,
          agentTimeLimitMs: run.agentTimeLimitMs,
          modelCallLimit: run.modelCallLimit,
        },
      ]),
    ),
    runs: new Map(
      world.runs.map((run) => [
        run.runId,
        { workspaceId: run.workspaceId, taskId: run.taskId, epoch: 1, state: "claimed" },
      ]),
    ),
  };
}

/** A command with all names filled in from the state: what exactly is asked of kernel and database. */
export type Operation =
  | { type: "reserve"; ask: Reserve }
  | { type: "dispatch"; ask: Parameters<typeof kernel.dispatch>[1] }
  | { type: "settle"; ask: Settle }
  | { type: "reap" }
  | { type: "seen"; processId: string }
  | { type: "lease_time"; ask: Parameters<typeof kernel.leaseAgentTime>[1] }
  | { type: "return_time"; ask: Parameters<typeof kernel.returnAgentTime>[1] }
  | { type: "limit"; ask: Parameters<typeof kernel.setLimit>[1] }
  | { type: "top_limit"; ask: Parameters<typeof kernel.setTopLimit>[1] }
  | { type: "run"; runId: string; run: Run }
  | { type: "tick"; nowMs: number };

/** Undefined when there is nothing yet that the command could be about. */
export function operationOf(
  command: Command,
  at: { state: State; world: World; newHoldId(): string },
): Operation | undefined {
  const { state, world } = at;
  const named = "run" in command ? world.runs[command.run]! : world.runs[0]!;
  const { workspaceId, runId } = named;
  const epoch = state.runs.get(runId)!.epoch;
  const holds = [...state.holds.values()];
  const picked = "pick" in command ? holds[command.pick % Math.max(1, holds.length)] : undefined;
  switch (command.type) {
    case "reserve": {
      const { type, run: _run, owner, again, ...amounts } = command;
      const calls = holds.filter((hold) => hold.runId === runId);
      const earlier = again === null ? undefined : calls[again % Math.max(1, calls.length)];
      const attempts = calls.filter((hold) => hold.callNo === earlier?.callNo);
      return {
        type,
        ask: {
          ...amounts,
          workspaceId,
          runId,
          epoch,
          holdId: at.newHoldId(),
          ...(earlier ? { callNo: earlier.callNo } : {}),
          attemptNo: attempts.length + 1,
          ownerId: world.processIds[owner]!,
        },
      };
    }
    case "dispatch":
      return (
        picked && {
          type: "dispatch",
          ask: {
            workspaceId: picked.workspaceId,
            holdId: picked.id,
            ownerId: world.processIds[command.owner]!,
          },
        }
      );
    case "settle": {
      const { type, outcome, actualNanoUsd } = command;
      return (
        picked && {
          type,
          ask: { workspaceId: picked.workspaceId, holdId: picked.id, outcome, actualNanoUsd },
        }
      );
    }
    case "reap":
      return { type: "reap" };
    case "seen":
      return { type: "seen", processId: world.processIds[command.owner]! };
    case "lease_time": {
      const { type, sliceMs, again } = command;
      const slices = [...state.slices.values()];
      const booked = slices.filter((slice) => slice.runId === runId && slice.epoch === epoch);
      const bookingNo = again ? Math.max(1, booked.length) : booked.length + 1;
      return { type, ask: { workspaceId, runId, epoch, bookingNo, sliceMs } };
    }
    case "return_time":
      return {
        type: "return_time",
        ask: {
          workspaceId,
          runId,
          epoch: command.stale ? epoch - 1 : epoch,
          unusedMs: command.unusedMs,
        },
      };
    case "limit": {
      const { level, meter, amount } = command;
      const scopeId = levelsOf(state, runId).find((key) => key.level === level)!.scopeId;
      return { type: "limit", ask: { workspaceId, meter, level, scopeId, amount } };
    }
    case "top_limit": {
      const { level, meter, amount } = command;
      const scopeId = level === "owner" ? world.ownerId : "platform";
      return { type: "top_limit", ask: { level, scopeId, meter, amount } };
    }
    case "run": {
      const before = state.runs.get(runId)!;
      const claimed = command.state === "claimed";
      return {
        type: "run",
        runId,
        run: { ...before, state: command.state, epoch: before.epoch + (claimed ? 1 : 0) },
      };
    }
    case "tick":
      return { type: "tick", nowMs: state.nowMs + command.ms };
  }
}

/** Decides an operation by the kernel alone. */
export function decide(
  state: State,
  operation: Operation,
): { state: State; events: readonly { type: string }[]; outcome: unknown } {
  switch (operation.type) {
    case "reserve":
      return kernel.reserve(state, operation.ask);
    case "dispatch":
      return kernel.dispatch(state, operation.ask);
    case "settle":
      return kernel.settle(state, operation.ask);
    case "reap":
      return kernel.reap(state, REAP);
    case "seen":
      return kernel.processSeen(state, operation.processId);
    case "lease_time":
      return kernel.leaseAgentTime(state, operation.ask);
    case "return_time":
      return kernel.returnAgentTime(state, operation.ask);
    case "limit":
      return kernel.setLimit(state, operation.ask);
    case "top_limit":
      return kernel.setTopLimit(state, operation.ask);
    case "run": {
      const runs = new Map(state.runs).set(operation.runId, operation.run);
      return { state: { ...state, runs }, events: [], outcome: undefined };
    }
    case "tick":
      return { state: { ...state, nowMs: operation.nowMs }, events: [], outcome: undefined };
  }
}

import type { Reconciliation } from "./calls.ts";
import * as reconciling from "./kernel-reconcile.ts";
import type { Reserve, Settle } from "./kernel.ts";
import * as kernel from "./kernel.ts";
import { emptyState, type Run, type State } from "./kernel-state.ts";

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
};

/** Half a minute before a month ends. */
export const START_MS = Date.UTC(2026, 10, 30, 23, 59, 30);
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

/** What exactly is asked of kernel and database. */
export type Operation =
  | { type: "reserve"; ask: Reserve }
  | { type: "dispatch"; ask: Parameters<typeof kernel.dispatch>[1]; foreign: boolean }
  | { type: "settle"; ask: Settle }
  | { type: "reap" }
  | { type: "seen"; processId: string }
  | { type: "ended"; processId: string }
  | { type: "reconcile"; ask: Reconciliation }
  | { type: "lease_time"; ask: Parameters<typeof kernel.leaseAgentTime>[1] }
  | { type: "return_time"; ask: Parameters<typeof kernel.returnAgentTime>[1] }
  | { type: "limit"; ask: Parameters<typeof kernel.setLimit>[1] }
  | { type: "top_limit"; ask: Parameters<typeof kernel.setTopLimit>[1] }
  | { type: "run"; runId: string; state: Run["state"] }
  | { type: "time"; nowMs: number };

function changeRun(state: State, change: Extract<Operation, { type: "run" }>): State {
  const before = state.runs.get(change.runId)!;
  const epoch = before.epoch + (change.state === "claimed" ? 1 : 0);
  const run = { ...before, state: change.state, epoch };
  return { ...state, runs: new Map(state.runs).set(change.runId, run) };
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
    case "ended":
      return reconciling.processEnded(state, operation.processId);
    case "reconcile":
      return reconciling.reconcile(state, operation.ask);
    case "lease_time":
      return kernel.leaseAgentTime(state, operation.ask);
    case "return_time":
      return kernel.returnAgentTime(state, operation.ask);
    case "limit":
      return kernel.setLimit(state, operation.ask);
    case "top_limit":
      return kernel.setTopLimit(state, operation.ask);
    case "run":
      return { state: changeRun(state, operation), events: [], outcome: undefined };
    case "time":
      return { state: { ...state, nowMs: operation.nowMs }, events: [], outcome: undefined };
  }
}

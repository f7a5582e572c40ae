import type { WorkspaceTx } from "../../platform/db.ts";
import { invariant } from "../../platform/errors.ts";
import {
  delegationToSelf,
  delegationTooDeep,
  nothingToGrant,
  tooManyDelegations,
} from "./delegation-errors.ts";
import type { Claim } from "../execution/run-claims.ts";
import { createTask } from "../task-creation.ts";

/** A person's task is at depth 0; one that was delegated three times over delegates no further. */
const MAX_DEPTH = 3;
const MAX_CHILDREN = 8;
/** A task's limits of time are never below this, milliseconds. */
const LEAST_TIME_MS = 1_000;
/** The bounds of the contract for a task's limits: nano-USD, milliseconds. */
const MOST_COST_NANO_USD = 1_000_000_000_000;
const MOST_TIME_MS = 30 * 24 * 3_600_000;

/** A delegated task as it stands. */
export type Child = {
  id: string;
  agent_id: string;
  state: "queued" | "running" | "waiting" | "paused" | "succeeded" | "failed" | "cancelled";
  cause: string | null;
  result: string | null;
};

/** The task that one tool call delegated, whichever attempt executed it. */
export async function findChild(tx: WorkspaceTx, key: string): Promise<Child | undefined> {
  const [child] = await tx.query<Child>({
    text: "SELECT id, agent_id, state, cause, result FROM tasks WHERE workspace_id = $1 AND delegation_key = $2",
    values: [tx.workspaceId, key],
  });
  return child;
}

type ParentRow = {
  root_task_id: string;
  depth: number;
  upload_id: string | null;
  priority: number;
  model_call_limit: number;
  tool_call_limit: number;
  wall_time_left_ms: number;
  children: number;
  /** What this task and all above it leave; null when none of them has a limit. */
  cost_left: number | null;
  agent_time_left: number | null;
};

async function loadParent(tx: WorkspaceTx, taskId: string): Promise<ParentRow> {
  const [parent] = await tx.query<ParentRow>({
    text: `WITH RECURSIVE chain AS (
        SELECT t.id, t.parent_task_id FROM tasks t WHERE t.workspace_id = $1 AND t.id = $2
        UNION ALL
        SELECT p.id, p.parent_task_id FROM chain c JOIN tasks p ON p.workspace_id = $1 AND p.id = c.parent_task_id
      ), room AS (
        SELECT min(budget_room($1, 'model_cost', ROW('task', c.id, 'all', NULL)::budget_key)) AS cost_left,
          min(budget_room($1, 'agent_time', ROW('task', c.id, 'all', NULL)::budget_key)) AS agent_time_left FROM chain c
      )
      SELECT t.root_task_id, t.depth, t.upload_id, t.priority, t.model_call_limit, t.tool_call_limit,
        floor(t.wall_time_limit_ms - extract(epoch FROM clock_now() - coalesce(t.started_at, clock_now())) * 1000)::bigint AS wall_time_left_ms,
        (SELECT count(*)::int FROM tasks c WHERE c.workspace_id = $1 AND c.parent_task_id = t.id) AS children, room.cost_left, room.agent_time_left
      FROM tasks t, room WHERE t.workspace_id = $1 AND t.id = $2`,
    values: [tx.workspaceId, taskId],
  });
  invariant(parent !== undefined, "a run that delegates has its task");
  return parent;
}

function timeOf(leftMs: number): number {
  return Math.min(MOST_TIME_MS, Math.max(LEAST_TIME_MS, leftMs));
}

/**
 * The sub-grant: money and time are what is left of the parent's, or less when it says so. The ledger counts all that
 * the child uses at the parent too, so unused money needs no way back. `left` is null where nothing limits the parent.
 */
function grant(left: number | null, wanted: number | undefined): number | undefined {
  if (left === null) return wanted;
  if (left <= 0) throw nothingToGrant();
  return Math.min(left, wanted ?? left, MOST_COST_NANO_USD);
}

export type DelegationRequest = {
  claim: Claim;
  /** Who delegates. */
  agentId: string;
  /** Names the tool call. */
  key: string;
  agent: string;
  prompt: string;
  costLimitNanoUsd?: number;
};

/**
 * Makes the task for a colleague, with the same input files. Throws `agent_not_found`, `delegation_to_self`,
 * `delegation_too_deep`, `too_many_delegations` and `nothing_to_grant`. The caller's transaction holds the parent's
 * stream, so that calls with one key come one after the other. -> its id
 */
export async function createChild(tx: WorkspaceTx, request: DelegationRequest): Promise<string> {
  const { claim, agentId, agent } = request;
  if (agent === agentId) throw delegationToSelf();
  const parent = await loadParent(tx, claim.taskId);
  if (parent.depth >= MAX_DEPTH) throw delegationTooDeep(MAX_DEPTH);
  if (parent.children >= MAX_CHILDREN) throw tooManyDelegations(MAX_CHILDREN);
  const costNanoUsd = grant(parent.cost_left, request.costLimitNanoUsd);
  const child = await createTask(tx, {
    caller: { workspaceId: tx.workspaceId, actor: `agent:${agentId}`, origin: claim.taskId },
    parent: {
      taskId: claim.taskId,
      rootTaskId: parent.root_task_id,
      depth: parent.depth,
      delegationKey: request.key,
    },
    body: {
      agent,
      prompt: request.prompt,
      ...(parent.upload_id === null ? {} : { upload_id: parent.upload_id }),
      priority: parent.priority,
      limits: {
        ...(costNanoUsd === undefined ? {} : { cost_nano_usd: costNanoUsd }),
        wall_time_ms: timeOf(parent.wall_time_left_ms),
        ...(parent.agent_time_left === null
          ? {}
          : { agent_time_ms: timeOf(parent.agent_time_left) }),
        model_calls: parent.model_call_limit,
        tool_calls: parent.tool_call_limit,
      },
    },
  });
  return child.id;
}

import { randomBytes } from "node:crypto";
import type pg from "pg";
import { newId } from "../platform/ids.ts";
import { formatRunToken, newRunSecret } from "../platform/run-token.ts";

/** A workspace with its owner and one agent, as the tables have it. */
export type Tenant = {
  workspaceId: string;
  billingAccountId: string;
  userId: string;
  agentId: string;
};

export type TenantOptions = {
  plan?: string;
  /** Monthly model budget of the workspace, nano-USD; none when absent. */
  costLimitNanoUsd?: number;
  /** Monthly agent time of the workspace, milliseconds; none when absent. */
  agentTimeLimitMs?: number;
  /** How many of its tasks may run at once; no limit when absent. */
  concurrentTasks?: number;
  /** API requests in any 60 minutes; no limit when absent. */
  apiRequestsPerHour?: number;
  /** How many members it may have; no limit when absent. */
  members?: number;
  /** A further workspace of the same payer. */
  billingAccountId?: string;
  agentId?: string;
  /** Model of the agent. */
  model?: string;
};

/** Counts a content as if it lay in the file store, so that rows may name it. -> its SHA-256 */
export async function createContent(
  admin: pg.Client,
  { workspaceId }: Pick<Tenant, "workspaceId">,
  sizeBytes: number,
): Promise<string> {
  const sha256 = randomBytes(32).toString("hex");
  await admin.query(
    `INSERT INTO file_contents (workspace_id, sha256, size_bytes, object) VALUES ($1, $2, $3, $2)`,
    [workspaceId, sha256, sizeBytes],
  );
  await admin.query(
    `INSERT INTO workspace_storage AS s (workspace_id, used_bytes) VALUES ($1, $2) ON CONFLICT (workspace_id) DO UPDATE SET used_bytes = s.used_bytes + $2`,
    [workspaceId, sizeBytes],
  );
  return sha256;
}

/** Inserts a workspace of its own, past the doors. Each call makes a new one, so tests of one file do not meet. */
export async function createTenant(admin: pg.Client, options: TenantOptions = {}): Promise<Tenant> {
  const tenant: Tenant = {
    workspaceId: newId("ws"),
    billingAccountId: options.billingAccountId ?? newId("ba"),
    userId: newId("usr"),
    agentId: options.agentId ?? "gray",
  };
  const { workspaceId, billingAccountId, userId } = tenant;
  await admin.query(
    `INSERT INTO billing_accounts (id, name) VALUES ($1, 'Test payer') ON CONFLICT DO NOTHING`,
    [billingAccountId],
  );
  await admin.query(`INSERT INTO users (id, name) VALUES ($1, 'Test user')`, [userId]);
  await admin.query(
    `INSERT INTO workspaces (workspace_id, name, billing_account_id, plan) VALUES ($1, 'Test workspace', $2, $3)`,
    [workspaceId, billingAccountId, options.plan ?? "self_hosted"],
  );
  await admin.query(
    `INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, 'owner')`,
    [workspaceId, userId],
  );
  const limits: [meter: string, amount: number | undefined][] = [
    ["model_cost", options.costLimitNanoUsd],
    ["agent_time", options.agentTimeLimitMs],
    ["concurrent_tasks", options.concurrentTasks],
    ["api_requests", options.apiRequestsPerHour],
    ["members", options.members],
  ];
  for (const [meter, amount] of limits)
    if (amount !== undefined)
      await admin.query(
        `INSERT INTO limits (workspace_id, meter, level, scope_id, version, amount, changed_by) VALUES ($1, $2, 'workspace', $1, 1, $3, 'test')`,
        [workspaceId, meter, amount],
      );
  await createAgent(admin, {
    workspaceId,
    agentId: tenant.agentId,
    ...(options.model === undefined ? {} : { model: options.model }),
  });
  return tenant;
}

/** A further agent of the workspace. */
export async function createAgent(
  admin: pg.Client,
  agent: { workspaceId: string; agentId: string; model?: string },
): Promise<void> {
  await admin.query(
    `INSERT INTO agents (workspace_id, id, name, role, traits, voice, system_prompt, tools, model, desk)
     VALUES ($1, $2, $2, 'Tester', '{}', 'plain', 'You are a test agent.', '{}', $3, 1)`,
    [agent.workspaceId, agent.agentId, agent.model ?? "claude-sonnet-4-5"],
  );
}

export type TaskOptions = {
  agentId?: string;
  parentTaskId?: string;
  prompt?: string;
  /** nano-USD; default 500,000,000 ($0.50). */
  costLimitNanoUsd?: number;
  agentTimeLimitMs?: number;
  wallTimeLimitMs?: number;
  modelCallLimit?: number;
  toolCallLimit?: number;
  priority?: number;
};

/** A queued task with its run and its first event, as `POST /v1/tasks` leaves it. */
export async function createQueuedRun(
  admin: pg.Client,
  tenant: Tenant,
  options: TaskOptions = {},
): Promise<{ taskId: string; runId: string }> {
  const taskId = newId("task");
  const runId = newId("run");
  const { workspaceId } = tenant;
  const agentId = options.agentId ?? tenant.agentId;
  const costLimitNanoUsd = options.costLimitNanoUsd ?? 500_000_000;
  await admin.query(
    `INSERT INTO tasks (workspace_id, id, agent_id, title, prompt, parent_task_id, root_task_id, depth,
       cost_limit_nano_usd, wall_time_limit_ms, agent_time_limit_ms, model_call_limit, tool_call_limit, created_by, priority)
     VALUES ($1, $2, $3, 'Test task', $4, $5,
       coalesce((SELECT p.root_task_id FROM tasks p WHERE p.workspace_id = $1 AND p.id = $5), $2),
       coalesce((SELECT p.depth + 1 FROM tasks p WHERE p.workspace_id = $1 AND p.id = $5), 0), $6, $7, $8, $9, $10, $11, $12)`,
    [
      workspaceId,
      taskId,
      agentId,
      options.prompt ?? "Do the test.",
      options.parentTaskId ?? null,
      costLimitNanoUsd,
      options.wallTimeLimitMs ?? 86_400_000,
      options.agentTimeLimitMs ?? 3_600_000,
      options.modelCallLimit ?? 200,
      options.toolCallLimit ?? 1_000,
      `user:${tenant.userId}`,
      options.priority ?? 0,
    ],
  );
  await admin.query(`SELECT append_event($1, $2, 'task.created', $3)`, [
    workspaceId,
    taskId,
    JSON.stringify({
      agent_id: agentId,
      title: "Test task",
      created_by: `user:${tenant.userId}`,
      cost_limit_nano_usd: costLimitNanoUsd,
    }),
  ]);
  // Last, for somebody may claim it at once.
  await admin.query(
    `INSERT INTO runs (workspace_id, id, task_id, priority) VALUES ($1, $2, $3, $4)`,
    [workspaceId, runId, taskId, options.priority ?? 0],
  );
  return { taskId, runId };
}

/** One attempt that holds the lease of a run, with the token that its model calls carry. */
export type ClaimedRun = {
  workspaceId: string;
  taskId: string;
  runId: string;
  epoch: number;
  workerId: string;
  /** What the client sends to the gateway. */
  token: string;
  /** What the database compares: SHA-256 of the token's secret. */
  tokenHash: string;
};

/**
 * A task whose run a worker has claimed, in the next free slot. The lease is long by default, so that a test which is
 * not about leases never loses it.
 */
export async function createClaimedRun(
  admin: pg.Client,
  tenant: Tenant,
  options: TaskOptions & { leaseMs?: number; workerId?: string } = {},
): Promise<ClaimedRun> {
  const { taskId, runId } = await createQueuedRun(admin, tenant, options);
  await admin.query(
    `UPDATE runs r SET state = 'admitted',
       slot_no = (SELECT coalesce(max(o.slot_no), 0) + 1 FROM runs o WHERE o.workspace_id = $1)
     WHERE r.workspace_id = $1 AND r.id = $2`,
    [tenant.workspaceId, runId],
  );
  return claimRun(admin, { ...tenant, taskId, runId, ...options });
}

/** Claims one given run for a new attempt, also a run that an earlier attempt still holds: its epoch becomes stale. */
export async function claimRun(
  admin: pg.Client,
  run: { workspaceId: string; taskId: string; runId: string; leaseMs?: number; workerId?: string },
): Promise<ClaimedRun> {
  const { workspaceId, taskId, runId } = run;
  const workerId = run.workerId ?? newId("wrk");
  const { secret, hash } = newRunSecret();
  const claimed = await admin.query<{ epoch: number }>(
    `UPDATE runs SET state = 'claimed', epoch = epoch + 1, worker_id = $3, lease_until = clock_now() + $4 * interval '1 millisecond',
       slot_no = coalesce(slot_no, (SELECT coalesce(max(o.slot_no), 0) + 1 FROM runs o WHERE o.workspace_id = $1))
     WHERE workspace_id = $1 AND id = $2 RETURNING epoch`,
    [workspaceId, runId, workerId, run.leaseMs ?? 3_600_000],
  );
  const epoch = claimed.rows[0]!.epoch;
  await admin.query(
    `UPDATE attempts SET ended_at = clock_now(), end_reason = 'lease_lost' WHERE workspace_id = $1 AND run_id = $2 AND ended_at IS NULL`,
    [workspaceId, runId],
  );
  await admin.query(
    `INSERT INTO attempts (workspace_id, run_id, epoch, worker_id, token_hash) VALUES ($1, $2, $3, $4, $5)`,
    [workspaceId, runId, epoch, workerId, hash],
  );
  await admin.query(
    `UPDATE tasks SET state = 'running', parked = NULL, started_at = coalesce(started_at, clock_now()) WHERE workspace_id = $1 AND id = $2`,
    [workspaceId, taskId],
  );
  await admin.query(`SELECT append_event($1, $2, 'run.claimed', $3)`, [
    workspaceId,
    taskId,
    JSON.stringify({ run_id: runId, attempt: epoch, worker_id: workerId }),
  ]);
  const token = formatRunToken({ workspaceId, runId, epoch, secret });
  return { workspaceId, taskId, runId, epoch, workerId, token, tokenHash: hash };
}

/** A new limit of a level above all workspaces; null is no limit. */
export async function limitTop(
  admin: pg.Client,
  limit: {
    level: "owner" | "platform";
    scopeId: string;
    meter: "model_cost" | "agent_time";
    amount: number | null;
  },
): Promise<void> {
  await admin.query(`SELECT set_top_limit($1, $2, $3, $4, 'test')`, [
    limit.level,
    limit.scopeId,
    limit.meter,
    limit.amount,
  ]);
}

import type { Task } from "@guildhall/sdk/contract/task.ts";
import type { Statement } from "../platform/db.ts";

/** The task that delegates; `delegationKey` names the tool call, which makes one task however often it is executed. */
export type ParentTask = {
  taskId: string;
  rootTaskId: string;
  depth: number;
  delegationKey: string;
};

/** A task as it is made; limits in nano-USD, milliseconds and counts. */
export type NewTask = {
  id: string;
  runId: string;
  agentId: string;
  title: string;
  prompt: string;
  uploadId: string | null;
  parent: ParentTask | null;
  priority: number;
  /** ISO time. */
  startAfter: string | null;
  /** Id of the failed task that it does again. */
  replayOf: string | null;
  costLimitNanoUsd: number;
  wallTimeLimitMs: number;
  agentTimeLimitMs: number;
  modelCallLimit: number;
  toolCallLimit: number;
  createdBy: string;
};

/** What `insertTask` answers; without agent or upload nothing was made. */
export type InsertedTask = { agent: boolean; upload: boolean; created_at: Date | null };

/**
 * Task, run, stream, first event, outbox row and audit line as one statement, when there are its agent and upload: there
 * is no moment with only some of them, and one round trip. What Postgres inserts after it has locked the audit's head
 * waits for nobody.
 */
export function insertTask(task: NewTask, audit: readonly (string | null)[]): Statement {
  const created = {
    agent_id: task.agentId,
    title: task.title,
    created_by: task.createdBy,
    cost_limit_nano_usd: task.costLimitNanoUsd,
  };
  return {
    name: "insert_task",
    text: `WITH found AS MATERIALIZED (
        SELECT EXISTS (SELECT FROM agents WHERE workspace_id = current_workspace() AND id = $3) AS agent,
          $6::text IS NULL OR EXISTS (SELECT FROM uploads WHERE workspace_id = current_workspace() AND id = $6) AS upload
      ), task AS (
        INSERT INTO tasks (workspace_id, id, agent_id, title, prompt, upload_id, parent_task_id, root_task_id, depth, priority,
            cost_limit_nano_usd, wall_time_limit_ms, agent_time_limit_ms, model_call_limit, tool_call_limit, created_by, delegation_key, start_after, replay_of)
          SELECT current_workspace(), $1, $3, $4, $5, $6, $7, $8, $9::int, $10::int, $11::bigint, $12::bigint, $13::bigint, $14::int, $15::int, $16, $18, $19::timestamptz, $20
          FROM found WHERE agent AND upload
        RETURNING created_at, start_after
      ), run AS (
        INSERT INTO runs (workspace_id, id, task_id, priority, state, wake_at)
          SELECT current_workspace(), $2, $1, $10::int, CASE WHEN later THEN 'parked' ELSE 'queued' END, CASE WHEN later THEN start_after END
          FROM (SELECT start_after, coalesce(start_after > clock_now(), false) AS later FROM task) start
      ), stream AS (
        INSERT INTO streams (workspace_id, id, last_seq) SELECT current_workspace(), $1, 1 FROM task
      ), event AS (
        INSERT INTO events (workspace_id, stream_id, seq, type, data) SELECT current_workspace(), $1, 1, 'task.created', $17::jsonb FROM task
      ), told AS (
        INSERT INTO outbox (workspace_id, topic, payload) SELECT current_workspace(), 'run.ready', jsonb_build_object('task_id', $1::text) FROM task
      )
      SELECT agent, upload, created_at, CASE WHEN created_at IS NOT NULL THEN append_audit($21, $22, $23, $24, $25, $26) END FROM found LEFT JOIN task ON true`,
    values: [
      task.id,
      task.runId,
      task.agentId,
      task.title,
      task.prompt,
      task.uploadId,
      task.parent?.taskId ?? null,
      task.parent?.rootTaskId ?? task.id,
      task.parent === null ? 0 : task.parent.depth + 1,
      task.priority,
      task.costLimitNanoUsd,
      task.wallTimeLimitMs,
      task.agentTimeLimitMs,
      task.modelCallLimit,
      task.toolCallLimit,
      task.createdBy,
      JSON.stringify(created),
      task.parent?.delegationKey ?? null,
      task.startAfter,
      task.replayOf,
      ...audit,
    ],
  };
}

const UNUSED: Task["usage"] = {
  spent_nano_usd: 0,
  held_nano_usd: 0,
  agent_time_ms: 0,
  model_calls: 0,
  tool_calls: 0,
  input_tokens: 0,
  cache_read_tokens: 0,
  cache_write_tokens: 0,
  output_tokens: 0,
};

/** The task as it is read when nothing has happened to it yet. */
export function unstarted(task: NewTask): Omit<Task, "created_at"> {
  return {
    id: task.id,
    agent_id: task.agentId,
    title: task.title,
    prompt: task.prompt,
    state: "queued",
    cause: null,
    parked: null,
    upload_id: task.uploadId,
    parent_task_id: task.parent?.taskId ?? null,
    replay_of: task.replayOf,
    priority: task.priority,
    start_after: task.startAfter === null ? null : new Date(task.startAfter).toISOString(),
    limits: {
      cost_nano_usd: task.costLimitNanoUsd,
      wall_time_ms: task.wallTimeLimitMs,
      agent_time_ms: task.agentTimeLimitMs,
      model_calls: task.modelCallLimit,
      tool_calls: task.toolCallLimit,
    },
    usage: { ...UNUSED },
    result: null,
    created_by: task.createdBy,
    started_at: null,
    ended_at: null,
    last_seq: 1,
  };
}

import type { Parked, Task, TaskDetail, TaskState } from "@guildhall/sdk/contract/task.ts";
import type { WorkspaceTx } from "../platform/db.ts";

/** A row of `taskSelect`. */
type TaskRow = {
  id: string;
  agent_id: string;
  title: string;
  prompt: string;
  state: TaskState;
  cause: string | null;
  parked: Parked | null;
  upload_id: string | null;
  parent_task_id: string | null;
  replay_of: string | null;
  priority: number;
  start_after: Date | null;
  cost_limit: number;
  wall_time_limit_ms: number;
  agent_time_limit: number;
  model_call_limit: number;
  tool_call_limit: number;
  spent: number;
  held: number;
  agent_time_ms: number;
  model_calls: number;
  tool_calls: number;
  input_tokens: number;
  cache_read_tokens: number;
  cache_write_tokens: number;
  output_tokens: number;
  result: string | null;
  created_by: string;
  created_at: Date;
  started_at: Date | null;
  ended_at: Date | null;
  last_seq: number;
};

/** How much of the prompt and the result a list carries; 200 whole prompts could be 20 MB. */
export const LIST_TEXT_CHARS = 2_000;

/** The limit in force: the newest version that somebody set, else the task's own. */
const limitInForce = (meter: string, own: string): string =>
  `coalesce((SELECT l.amount FROM limits l WHERE l.workspace_id = t.workspace_id AND l.meter = '${meter}' AND l.level = 'task'
     AND l.scope_id = t.id ORDER BY l.version DESC LIMIT 1), t.${own})`;

const text = (column: string, chars: number | undefined): string =>
  chars === undefined ? `t.${column}` : `left(t.${column}, ${chars}) AS ${column}`;

/**
 * Tasks with what they used. Money and time are the task's budget rows, which contain those of delegated tasks; calls
 * and tokens are counted from the task's own runs.
 */
function taskSelect(textChars?: number): string {
  return `SELECT t.id, t.agent_id, t.title, ${text("prompt", textChars)}, t.state, t.cause, t.parked, t.upload_id, t.parent_task_id, t.replay_of, t.priority, t.start_after,
    ${limitInForce("model_cost", "cost_limit_nano_usd")} AS cost_limit, t.wall_time_limit_ms,
    ${limitInForce("agent_time", "agent_time_limit_ms")} AS agent_time_limit, t.model_call_limit, t.tool_call_limit,
    coalesce(cost.posted, 0) AS spent, coalesce(cost.held, 0) AS held, coalesce(agent_time.posted, 0) AS agent_time_ms,
    calls.model_calls, tools.tool_calls, calls.input_tokens, calls.cache_read_tokens, calls.cache_write_tokens, calls.output_tokens,
    ${text("result", textChars)}, t.created_by, t.created_at, t.started_at, t.ended_at, s.last_seq
  FROM tasks t
  JOIN streams s ON s.workspace_id = t.workspace_id AND s.id = t.id
  LEFT JOIN budgets cost ON cost.workspace_id = t.workspace_id AND cost.meter = 'model_cost' AND cost.level = 'task' AND cost.scope_id = t.id AND cost.period = 'all'
  LEFT JOIN budgets agent_time ON agent_time.workspace_id = t.workspace_id AND agent_time.meter = 'agent_time' AND agent_time.level = 'task' AND agent_time.scope_id = t.id AND agent_time.period = 'all'
  CROSS JOIN LATERAL (
    SELECT count(DISTINCT (h.run_id, h.call_no)) AS model_calls,
      coalesce(sum((h.usage->>'input_tokens')::bigint), 0)::bigint AS input_tokens,
      coalesce(sum((h.usage->>'cache_read_input_tokens')::bigint), 0)::bigint AS cache_read_tokens,
      coalesce(sum((h.usage->>'cache_creation_5m_input_tokens')::bigint + (h.usage->>'cache_creation_1h_input_tokens')::bigint), 0)::bigint AS cache_write_tokens,
      coalesce(sum((h.usage->>'output_tokens')::bigint), 0)::bigint AS output_tokens
    FROM runs r JOIN holds h ON h.workspace_id = r.workspace_id AND h.run_id = r.id AND h.state <> 'VOID'
    WHERE r.workspace_id = t.workspace_id AND r.task_id = t.id
  ) calls
  CROSS JOIN LATERAL (
    SELECT count(*) AS tool_calls FROM runs r JOIN steps st ON st.workspace_id = r.workspace_id AND st.run_id = r.id AND st.kind = 'tool'
    WHERE r.workspace_id = t.workspace_id AND r.task_id = t.id
  ) tools
  WHERE t.workspace_id = current_workspace()`;
}

function toTask(row: TaskRow): Task {
  return {
    id: row.id,
    agent_id: row.agent_id,
    title: row.title,
    prompt: row.prompt,
    state: row.state,
    cause: row.cause,
    parked: row.parked,
    upload_id: row.upload_id,
    parent_task_id: row.parent_task_id,
    replay_of: row.replay_of,
    priority: row.priority,
    start_after: row.start_after?.toISOString() ?? null,
    limits: {
      cost_nano_usd: row.cost_limit,
      wall_time_ms: row.wall_time_limit_ms,
      agent_time_ms: row.agent_time_limit,
      model_calls: row.model_call_limit,
      tool_calls: row.tool_call_limit,
    },
    usage: {
      spent_nano_usd: row.spent,
      held_nano_usd: row.held,
      agent_time_ms: row.agent_time_ms,
      model_calls: row.model_calls,
      tool_calls: row.tool_calls,
      input_tokens: row.input_tokens,
      cache_read_tokens: row.cache_read_tokens,
      cache_write_tokens: row.cache_write_tokens,
      output_tokens: row.output_tokens,
    },
    result: row.result,
    created_by: row.created_by,
    created_at: row.created_at.toISOString(),
    started_at: row.started_at?.toISOString() ?? null,
    ended_at: row.ended_at?.toISOString() ?? null,
    last_seq: row.last_seq,
  };
}

const oneTask = `${taskSelect()} AND t.id = $1`;
const listedTasks = `${taskSelect(LIST_TEXT_CHARS)}
  AND ($1::text IS NULL OR t.id < $1) AND ($2::text IS NULL OR t.state = $2) AND ($3::text IS NULL OR t.agent_id = $3)
  AND ($5::text IS NULL OR t.cause = $5) ORDER BY t.id DESC LIMIT $4`;

export async function findTask(tx: WorkspaceTx, id: string): Promise<Task | undefined> {
  const [row] = await tx.query<TaskRow>({ name: "one_task", text: oneTask, values: [id] });
  return row && toTask(row);
}

/** Newest first; ids sort by creation, so the last id of a page is the cursor of the next. */
export async function findTasks(
  tx: WorkspaceTx,
  query: {
    before: string | undefined;
    state: TaskState | undefined;
    cause: string | undefined;
    agent: string | undefined;
    limit: number;
  },
): Promise<Task[]> {
  const rows = await tx.query<TaskRow>({
    name: "listed_tasks",
    text: listedTasks,
    values: [
      query.before ?? null,
      query.state ?? null,
      query.agent ?? null,
      query.limit,
      query.cause ?? null,
    ],
  });
  return rows.map(toTask);
}

const tasksById = `${taskSelect(LIST_TEXT_CHARS)} AND t.id = ANY($1)`;

/** Those of the ids that the workspace has, in no order, with long texts cut as in lists. */
export async function findTasksById(tx: WorkspaceTx, ids: readonly string[]): Promise<Task[]> {
  const rows = await tx.query<TaskRow>({ name: "tasks_by_id", text: tasksById, values: [ids] });
  return rows.map(toTask);
}

type ArtifactRow = {
  id: string;
  path: string;
  size_bytes: number;
  sha256: string;
  created_at: Date;
};

export async function findArtifacts(
  tx: WorkspaceTx,
  taskId: string,
): Promise<TaskDetail["artifacts"]> {
  const rows = await tx.query<ArtifactRow>({
    name: "task_artifacts",
    text: "SELECT id, path, size_bytes, sha256, created_at FROM artifacts WHERE workspace_id = current_workspace() AND task_id = $1 ORDER BY path",
    values: [taskId],
  });
  return rows.map((row) => ({ ...row, created_at: row.created_at.toISOString() }));
}

export function findInputFiles(
  tx: WorkspaceTx,
  uploadId: string,
): Promise<TaskDetail["input_files"]> {
  return tx.query({
    name: "input_files",
    text: "SELECT path, size_bytes FROM upload_files WHERE workspace_id = current_workspace() AND upload_id = $1 ORDER BY path",
    values: [uploadId],
  });
}

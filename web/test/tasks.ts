import type { LimitStop } from "@guildhall/sdk/contract/limit.ts";
import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";

/** A queued task of Gray's, changed as the test says. */
export function makeTask(change: Partial<TaskDetail> = {}): TaskDetail {
  return {
    id: "task_1",
    agent_id: "gray",
    title: "Profile the files",
    prompt: "Profile the files",
    state: "queued",
    cause: null,
    parked: null,
    upload_id: null,
    parent_task_id: null,
    replay_of: null,
    priority: 0,
    start_after: null,
    limits: {
      cost_nano_usd: 500_000_000,
      wall_time_ms: 86_400_000,
      agent_time_ms: 3_600_000,
      model_calls: 200,
      tool_calls: 1_000,
    },
    usage: {
      spent_nano_usd: 0,
      held_nano_usd: 0,
      agent_time_ms: 0,
      model_calls: 0,
      tool_calls: 0,
      input_tokens: 0,
      cache_read_tokens: 0,
      cache_write_tokens: 0,
      output_tokens: 0,
    },
    result: null,
    created_by: "user:usr_1",
    created_at: "2026-11-23T14:00:00.000Z",
    started_at: null,
    ended_at: null,
    last_seq: 1,
    artifacts: [],
    input_files: [],
    ...change,
  };
}

/** The workspace's monthly budget, nearly used, changed as the test says. */
export function makeStop(change: Partial<LimitStop> = {}): LimitStop {
  return {
    kind: "limit",
    status: "exhausted",
    meter: "model_cost",
    level: "workspace",
    scope_id: "ws_1",
    scope_name: "Acme",
    period: "2026-11",
    limit: 50_000_000_000,
    posted: 49_860_000_000,
    held: 0,
    left: 140_000_000,
    needed: 310_000_000,
    resets_at: "2026-12-01T00:00:00.000Z",
    raised_by: ["owner", "admin"],
    ...change,
  };
}

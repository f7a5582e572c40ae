import { expect, test } from "vitest";
import { taskSchema, taskDetailSchema, taskListSchema, type Task } from "@guildhall/sdk/contract/task.ts";
import { eventListSchema, eventSchema } from "@guildhall/sdk/contract/event.ts";
import { expectProblem, startTestApi, withoutRequestId, type Caller } from "../test/api.ts";
import { createClaimedRun, createQueuedRun } from "../test/tenant.ts";

const api = await startTestApi();
const { admin, send } = api;
const mine = await api.caller();
const { key } = mine;

async function create(caller: Caller, body: object = {}): Promise<Task> {
  const json = { agent: "gray", prompt: "Profile the files.", ...body };
  const response = await send("POST", "/v1/tasks", { key: caller.key, json });
  expect(response.status).toBe(201);
  return taskSchema.strict().parse(await response.json());
}
const tasksOf = async (caller: Caller) =>
  (await admin.query("SELECT count(*)::int AS n FROM tasks WHERE workspace_id = $1", [caller.workspaceId])).rows[0].n;

test("a task is made with its run, its first event, an outbox row and an audit line, and then the bell rings", async () => {
  const caller = await api.caller();
  const before = api.rung.length;
  const task = await create(caller, { prompt: "  Write a report\nabout it.  " });
  expect(task).toMatchObject({
    agent_id: "gray",
    title: "Write a report",
    prompt: "Write a report\nabout it.",
    state: "queued",
    limits: { cost_nano_usd: 500_000_000, wall_time_ms: 86_400_000, agent_time_ms: 3_600_000, model_calls: 200, tool_calls: 1_000 },
    usage: { spent_nano_usd: 0, held_nano_usd: 0, model_calls: 0 },
    last_seq: 1,
  });
  const count = async (table: string) =>
    (await admin.query(`SELECT count(*)::int AS n FROM ${table} WHERE workspace_id = $1`, [caller.workspaceId])).rows[0].n;
  expect(await count("runs")).toBe(1);
  expect(await count("outbox")).toBe(1);
  expect(api.rung.slice(before)).toEqual(["ready"]);
});

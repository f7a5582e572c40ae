import { expect, test } from "vitest";
import {
  type Task,
  taskDetailSchema,
  taskListSchema,
  taskSchema,
} from "@guildhall/sdk/contract/task.ts";
import { type Caller, expectProblem, startTestApi, withoutRequestId } from "../test/api.ts";
import { createAgent, createClaimedRun, createQueuedRun } from "../test/tenant.ts";
import { verifyAudit } from "../audit/audit.ts";
import { request } from "../ledger/fixture.ts";
import { createLedger } from "../ledger/ledger.ts";

const api = await startTestApi();
const { admin, db, send } = api;
const mine = await api.caller();
const { key } = mine;
const unknownId = "task_00000000000000000000000000";

async function create(caller: Caller, body: object = {}): Promise<Task> {
  const json = { agent: "gray", prompt: "Profile the files.", ...body };
  const response = await send("POST", "/v1/tasks", { key: caller.key, json });
  expect(response.status).toBe(201);
  return taskSchema.strict().parse(await response.json());
}
const get = (path: string, caller: Caller = mine) => send("GET", path, { key: caller.key });
async function countOf(table: string, { workspaceId }: Caller): Promise<number> {
  const { rows } = await admin.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM ${table} WHERE workspace_id = $1`,
    [workspaceId],
  );
  return rows[0]!.n;
}
async function listedIds(caller: Caller, query = ""): Promise<string[]> {
  const response = await get(`/v1/tasks${query}`, caller);
  expect(response.status).toBe(200);
  return taskListSchema.parse(await response.json()).data.map((task) => task.id);
}

test("a task is made with its run, first event, outbox row and audit line, and then the bell rings", async () => {
  const caller = await api.caller();
  const before = api.rung.length;
  const task = await create(caller, { prompt: "  Write a report\nabout it.  " });
  expect(task).toMatchObject({
    agent_id: "gray",
    title: "Write a report",
    prompt: "Write a report\nabout it.",
    state: "queued",
    limits: {
      cost_nano_usd: 500_000_000,
      wall_time_ms: 86_400_000,
      agent_time_ms: 3_600_000,
      model_calls: 200,
      tool_calls: 1_000,
    },
    usage: { spent_nano_usd: 0, held_nano_usd: 0, model_calls: 0 },
    last_seq: 1,
  });
  expect(await countOf("runs", caller)).toBe(1);
  expect(await countOf("outbox", caller)).toBe(1);
  expect(await db.withWorkspace(caller.workspaceId, verifyAudit)).toMatchObject({ ok: true });
  const { rows } = await admin.query(
    "SELECT action, target, actor, origin FROM audit_lines WHERE workspace_id = $1 ORDER BY seq DESC LIMIT 1",
    [caller.workspaceId],
  );
  expect(rows).toEqual([
    { action: "task.created", target: task.id, actor: task.created_by, origin: "127.0.0.1" },
  ]);
  expect(api.rung.slice(before)).toEqual(["ready"]);
});

test("what the creator says counts: title, priority, limits, input files", async () => {
  const body = new FormData();
  body.append("files", new Blob(["a,b\n"]), "data/a.csv");
  const upload = await send("POST", "/v1/uploads", { key, body });
  const { id: uploadId } = (await upload.json()) as { id: string };
  const limits = {
    cost_nano_usd: 1,
    wall_time_ms: 1_000,
    agent_time_ms: 2_000,
    model_calls: 1,
    tool_calls: 3,
  };
  const start_after = "2020-01-01T12:00:00+02:00";
  const said = { title: "T", priority: -7, limits, upload_id: uploadId, start_after };
  const task = await create(mine, said);
  expect(task).toMatchObject({ title: "T", priority: -7, limits, upload_id: uploadId });
  const detail = taskDetailSchema.strict().parse(await (await get(`/v1/tasks/${task.id}`)).json());
  expect(detail.input_files).toEqual([{ path: "data/a.csv", size_bytes: 4 }]);
  expect(detail.artifacts).toEqual([]);
  expect(detail).toEqual({ ...task, input_files: detail.input_files, artifacts: [] });
});

test("a title made from a long prompt is cut between words and never inside a character", async () => {
  const words = await create(mine, { prompt: "word ".repeat(50) });
  expect(words.title).toMatch(/^(word )+word…$/);
  expect(words.title.length).toBeLessThanOrEqual(81);
  const emoji = await create(mine, { prompt: `x${"😀".repeat(60)}` });
  expect(emoji.title.isWellFormed()).toBe(true);
});

test.each([
  ["no prompt", { agent: "gray" }, ["prompt"]],
  ["an empty prompt", { agent: "gray", prompt: " \n\t " }, ["prompt"]],
  ["a prompt above 100,000 characters", { agent: "gray", prompt: "a".repeat(100_001) }, ["prompt"]],
  ["a NUL in the prompt", { agent: "gray", prompt: "a\0b" }, ["prompt"]],
  ["a wrong type", { agent: 7, prompt: "a" }, ["agent"]],
  ["an unknown field", { agent: "gray", prompt: "a", workspace_id: "ws_x" }, ["workspace_id"]],
  [
    "a limit of 0",
    { agent: "gray", prompt: "a", limits: { cost_nano_usd: 0 } },
    ["limits.cost_nano_usd"],
  ],
  [
    "a negative limit",
    { agent: "gray", prompt: "a", limits: { model_calls: -1 } },
    ["limits.model_calls"],
  ],
  [
    "a fraction of a nano-dollar",
    { agent: "gray", prompt: "a", limits: { cost_nano_usd: 1.5 } },
    ["limits.cost_nano_usd"],
  ],
  ["an unknown limit", { agent: "gray", prompt: "a", limits: { usd: 1 } }, ["limits.usd"]],
  [
    "several faults",
    { agent: "", priority: 1e9, state: "running" },
    ["agent", "priority", "prompt", "state"],
  ],
])("%s is refused with the fields, and nothing is made", async (_title, json, fields) => {
  const tasks = await countOf("tasks", mine);
  const problem = await expectProblem(
    await send("POST", "/v1/tasks", { key, json }),
    400,
    "validation_failed",
  );
  expect(problem.errors?.map((error) => error.field).toSorted()).toEqual(fields);
  expect(await countOf("tasks", mine)).toBe(tasks);
});

test("a prompt of more than 1 MB is refused before it is read", async () => {
  const json = { agent: "gray", prompt: "a".repeat(1_100_000) };
  await expectProblem(await send("POST", "/v1/tasks", { key, json }), 413, "body_too_large");
});

test("an unknown agent is refused with the field and the agents that there are", async () => {
  const json = { agent: "nobody", prompt: "a" };
  const response = await send("POST", "/v1/tasks", { key, json });
  const problem = await expectProblem(response, 422, "agent_not_found");
  expect(problem.errors).toEqual([{ field: "agent", message: "There is no such agent." }]);
  expect(problem.hint).toContain("gray");
});

test("another workspace's agent or upload is as unknown as one that does not exist", async () => {
  const other = await api.caller();
  await createAgent(admin, { workspaceId: other.workspaceId, agentId: "theirs" });
  const json = { agent: "theirs", prompt: "a" };
  const foreign = await expectProblem(
    await send("POST", "/v1/tasks", { key, json }),
    422,
    "agent_not_found",
  );
  expect(foreign.hint).not.toContain("theirs");

  const body = new FormData();
  body.append("files", new Blob(["x"]), "x.txt");
  const uploaded = await send("POST", "/v1/uploads", { key: other.key, body });
  const { id } = (await uploaded.json()) as { id: string };
  const ask = (uploadId: string) =>
    send("POST", "/v1/tasks", { key, json: { agent: "gray", prompt: "a", upload_id: uploadId } });
  const answers = await Promise.all([ask(id), ask("upl_00000000000000000000000000")]);
  expect(answers.map((answer) => answer.status)).toEqual([422, 422]);
  const [a, b] = await Promise.all(answers.map(withoutRequestId));
  expect(a).toContain("upload_not_found");
  expect(a).toBe(b);
});

test("a list is newest first, page by page without a gap, and filtered", async () => {
  const caller = await api.caller();
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) ids.unshift((await create(caller)).id);
  expect(await listedIds(caller)).toEqual(ids);

  const seen: string[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const query = cursor === "" ? "?limit=2" : `?limit=2&cursor=${cursor}`;
    const page = taskListSchema.parse(await (await get(`/v1/tasks${query}`, caller)).json());
    expect(page.data.length).toBeLessThanOrEqual(2);
    seen.push(...page.data.map((task) => task.id));
    cursor = page.next_cursor;
  }
  expect(seen).toEqual(ids);

  await send("POST", `/v1/tasks/${ids[0]}/cancel`, { key: caller.key });
  expect(await listedIds(caller, "?state=cancelled")).toEqual([ids[0]]);
  expect(await listedIds(caller, "?agent=gray&state=queued")).toEqual(ids.slice(1));
  expect(await listedIds(caller, "?agent=marcus")).toEqual([]);
});

test("a list cuts long prompts, the task has them whole", async () => {
  const caller = await api.caller();
  const prompt = "p".repeat(50_000);
  const { id } = await create(caller, { prompt });
  const list = taskListSchema.parse(await (await get("/v1/tasks", caller)).json());
  expect(list.data[0]?.prompt).toHaveLength(2_000);
  const whole = taskDetailSchema.parse(await (await get(`/v1/tasks/${id}`, caller)).json());
  expect(whole.prompt).toBe(prompt);
});

test.each([
  "limit=0",
  "limit=201",
  "limit=1e9",
  "limit=x",
  "state=done",
  "cursor=%27%3B--",
  "offset=3",
])("the list query %s is refused", async (query) => {
  await expectProblem(await get(`/v1/tasks?${query}`), 400, "validation_failed");
});

test("a task shows what its calls used, and its newest limit", async () => {
  const caller = await api.caller();
  const run = await createClaimedRun(admin, caller);
  const usage = {
    input_tokens: 10,
    cache_read_input_tokens: 5,
    cache_creation_5m_input_tokens: 2,
    cache_creation_1h_input_tokens: 1,
    output_tokens: 7,
  };
  const ledger = createLedger({ db, processId: "wrk_test" });
  const { workspaceId } = caller;
  // Call 1 takes two attempts, call 2 runs, and call 3 never left.
  const holds = [1, 1, 2, 3].map((callNo, n) =>
    request(run, { callNo, attemptNo: n === 1 ? 2 : 1, dispatch: callNo !== 3 }),
  );
  for (const hold of holds) expect(await ledger.reserve(hold)).toMatchObject({ status: "held" });
  for (const { holdId } of holds.slice(0, 2))
    await ledger.settle({ workspaceId, holdId, outcome: "settled", actualNanoUsd: 150, usage });
  await ledger.settle({ workspaceId, holdId: holds[3]!.holdId, outcome: "void" });
  expect(await ledger.leaseAgentTime({ ...run, bookingNo: 1, sliceMs: 4_000 })).toMatchObject({
    status: "granted",
  });
  await admin.query(
    `INSERT INTO steps (workspace_id, run_id, step_no, epoch, kind, state, body) VALUES
      ($1, $2, 1, 1, 'model', 'done', '{}'), ($1, $2, 2, 1, 'tool', 'done', '{}')`,
    [caller.workspaceId, run.runId],
  );
  await send("PUT", "/v1/limits", {
    key: caller.key,
    json: { meter: "model_cost", level: "task", scope_id: run.taskId, amount: 900 },
  });
  const task = taskDetailSchema.parse(await (await get(`/v1/tasks/${run.taskId}`, caller)).json());
  expect(task.usage).toEqual({
    spent_nano_usd: 300,
    held_nano_usd: 200,
    agent_time_ms: 4_000,
    model_calls: 2,
    tool_calls: 1,
    input_tokens: 20,
    cache_read_tokens: 10,
    cache_write_tokens: 6,
    output_tokens: 14,
  });
  expect(task.limits.cost_nano_usd).toBe(900);
});

test("cancelling ends the task, tells the worker and leaves nothing to follow the last event", async () => {
  const caller = await api.caller();
  const run = await createClaimedRun(admin, caller);
  const before = api.rung.length;
  const response = await send("POST", `/v1/tasks/${run.taskId}/cancel`, { key: caller.key });
  expect(response.status).toBe(200);
  const task = taskDetailSchema.parse(await response.json());
  expect(task).toMatchObject({ state: "cancelled", cause: "requested" });
  expect(task.ended_at).not.toBeNull();
  expect(api.rung.slice(before)).toEqual([run.taskId, "ready"]);
  const { rows } = await admin.query(
    "SELECT type, data->>'by' AS by FROM events WHERE workspace_id = $1 AND stream_id = $2 ORDER BY seq DESC LIMIT 1",
    [caller.workspaceId, run.taskId],
  );
  expect(rows).toEqual([{ type: "task.cancelled", by: expect.stringMatching(/^key:key_/) }]);
  const append = admin.query("SELECT append_event($1, $2, 'model.text', '{}')", [
    caller.workspaceId,
    run.taskId,
  ]);
  await expect(append).rejects.toThrow("closed");
});

test("cancelling twice is the same as once; what ended otherwise stays as it ended", async () => {
  const { id } = await create(mine);
  const cancel = () => send("POST", `/v1/tasks/${id}/cancel`, { key });
  const first: unknown = await (await cancel()).json();
  const lines = await countOf("audit_lines", mine);
  const again = await cancel();
  expect(again.status).toBe(200);
  expect(await again.json()).toEqual(first);
  expect(await countOf("audit_lines", mine)).toBe(lines);

  const done = await createQueuedRun(admin, mine);
  await admin.query(
    "SELECT end_task($1, $2, 'succeeded', NULL, 'Done.', '{\"result\":\"Done.\"}')",
    [mine.workspaceId, done.taskId],
  );
  const refused = await send("POST", `/v1/tasks/${done.taskId}/cancel`, { key });
  await expectProblem(refused, 409, "task_already_ended");
});

test("delegated tasks end with the task, and their workers are told too", async () => {
  const caller = await api.caller();
  const parent = await createQueuedRun(admin, caller);
  const child = await createQueuedRun(admin, caller, { parentTaskId: parent.taskId });
  const grandchild = await createQueuedRun(admin, caller, { parentTaskId: child.taskId });
  const before = api.rung.length;
  await send("POST", `/v1/tasks/${parent.taskId}/cancel`, { key: caller.key });
  expect(api.rung.slice(before).toSorted()).toEqual(
    ["ready", parent.taskId, child.taskId, grandchild.taskId].toSorted(),
  );
  const task = taskSchema.parse(await (await get(`/v1/tasks/${grandchild.taskId}`, caller)).json());
  expect(task).toMatchObject({ state: "cancelled", cause: "parent_ended" });
});

test.each([
  ["GET", ""],
  ["GET", "/events"],
  ["GET", "/artifacts"],
  ["POST", "/cancel"],
])(
  "%s /v1/tasks/:id%s: a foreign id, an unknown one and nonsense get the same answer",
  async (method, path) => {
    const foreign = await create(await api.caller());
    const ids = [foreign.id, unknownId, "nonsense", "task_%27%20OR%201=1"];
    const answers = await Promise.all(
      ids.map((id) => send(method, `/v1/tasks/${id}${path}`, { key })),
    );
    expect(answers.map((answer) => answer.status)).toEqual([404, 404, 404, 404]);
    const bodies = await Promise.all(answers.map(withoutRequestId));
    expect(bodies[0]).toContain('"task_not_found"');
    expect(new Set(bodies).size).toBe(1);
  },
);

test("a lost database answers 503 with the time to come back, and the next request works", async () => {
  await api.dropConnections();
  const answers = await Promise.all(Array.from({ length: 5 }, () => get("/v1/tasks")));
  for (const answer of answers) {
    if (answer.status === 200) continue;
    expect(answer.headers.get("retry-after")).not.toBeNull();
    await expectProblem(answer, 503, "database_unavailable");
  }
  await expect.poll(async () => (await get("/v1/tasks")).status).toBe(200);
});

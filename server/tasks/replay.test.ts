import { expect, test } from "vitest";
import { type Task, taskListSchema, taskSchema } from "@guildhall/sdk/contract/task.ts";
import { type Caller, expectProblem, startTestApi } from "../test/api.ts";
import { wakeDueRuns } from "./execution/jobs.ts";
import { claimRuns } from "./execution/run-claims.ts";

const api = await startTestApi();
const { admin, db, send } = api;
const HOUR_MS = 3_600_000;

async function create(caller: Caller, body: object = {}): Promise<Task> {
  const json = { agent: "gray", prompt: "Profile the files.", ...body };
  const response = await send("POST", "/v1/tasks", { key: caller.key, json });
  expect(response.status).toBe(201);
  return taskSchema.strict().parse(await response.json());
}

async function fail(caller: Caller, id: string, cause = "attempts_exhausted"): Promise<void> {
  await admin.query("SELECT end_task($1, $2, 'failed', $3, NULL, '{}')", [
    caller.workspaceId,
    id,
    cause,
  ]);
}

const replay = (caller: Caller, id: string) =>
  send("POST", `/v1/tasks/${id}/replay`, { key: caller.key });

const claim = () => claimRuns(db, { workerId: "wrk_test", leaseMs: HOUR_MS, atMost: 10 });

test("a dead task is listed with its cause, and replayed as a new task with the same work and limits", async () => {
  const caller = await api.caller();
  const dead = await create(caller, {
    title: "The report",
    priority: 7,
    limits: { cost_nano_usd: 70_000_000, model_calls: 7 },
  });
  await create(caller);
  const other = await create(caller);
  await fail(caller, dead.id);
  await fail(caller, other.id, "loop");
  const listed = await send("GET", "/v1/tasks?cause=attempts_exhausted", { key: caller.key });
  const { data } = taskListSchema.parse(await listed.json());
  expect(data).toMatchObject([{ id: dead.id, state: "failed", cause: "attempts_exhausted" }]);

  const rung = api.rung.length;
  const response = await replay(caller, dead.id);
  expect(response.status).toBe(201);
  const made = taskSchema.parse(await response.json());
  expect(response.headers.get("location")).toBe(`/v1/tasks/${made.id}`);
  const { agent_id, title, prompt, priority, limits } = dead;
  expect(made).toMatchObject({
    agent_id,
    title,
    prompt,
    priority,
    limits,
    replay_of: dead.id,
    state: "queued",
    cause: null,
  });
  expect(api.rung.length).toBe(rung + 1);
  // What is over stays as it was.
  const before = await send("GET", `/v1/tasks/${dead.id}`, { key: caller.key });
  expect(await before.json()).toMatchObject({ state: "failed", cause: "attempts_exhausted" });
});

test("however often and at once it is asked, a task is replayed once; a replay that failed is replayed by itself", async () => {
  const caller = await api.caller();
  const dead = await create(caller);
  await fail(caller, dead.id);
  const answers = await Promise.all(Array.from({ length: 5 }, () => replay(caller, dead.id)));
  expect(answers.map((answer) => answer.status)).toEqual([201, 201, 201, 201, 201]);
  const made = answers.filter((answer) => answer.headers.get("idempotent-replayed") === null);
  expect(made).toHaveLength(1);
  const tasks = await Promise.all(
    answers.map(async (answer) => taskSchema.parse(await answer.json())),
  );
  const [id, ...others] = new Set(tasks.map((task) => task.id));
  expect(others).toEqual([]);
  await fail(caller, id!);
  const again = taskSchema.parse(await (await replay(caller, id!)).json());
  expect(again.replay_of).toBe(id);
});

test("only a failed task is replayed, by whom the workspace lets, and another workspace's is as unknown as none", async () => {
  const caller = await api.caller();
  const task = await create(caller);
  await expectProblem(await replay(caller, task.id), 409, "task_not_failed");
  await send("POST", `/v1/tasks/${task.id}/cancel`, { key: caller.key });
  await expectProblem(await replay(caller, task.id), 409, "task_not_failed");
  await expectProblem(
    await replay(caller, "task_00000000000000000000000000"),
    404,
    "task_not_found",
  );
  const dead = await create(caller);
  await fail(caller, dead.id);
  await expectProblem(await replay(await api.caller(), dead.id), 404, "task_not_found");
  const reader = { ...caller, key: await api.keyWith(caller, ["tasks:read"]) };
  await expectProblem(await replay(reader, dead.id), 403, "scope_missing");
  await expectProblem(
    await send("POST", `/v1/tasks/${dead.id}/replay`, {}),
    401,
    "unauthenticated",
  );
});

test("a task with a later start waits for it without a slot, others pass it, and then it starts", async () => {
  const caller = await api.caller();
  const start = new Date(Date.now() + HOUR_MS).toISOString();
  const later = await create(caller, { start_after: start });
  const past = await create(caller, { start_after: new Date(Date.now() - HOUR_MS).toISOString() });
  const plain = await create(caller);
  expect(later).toMatchObject({ state: "queued", start_after: start });
  expect(await wakeDueRuns(db)).toBe(0);
  const mine = (claims: Awaited<ReturnType<typeof claim>>) =>
    claims.filter((one) => one.workspaceId === caller.workspaceId).map((one) => one.taskId);
  expect(mine(await claim()).toSorted()).toEqual([past.id, plain.id].toSorted());
  await admin.query("UPDATE runs SET wake_at = clock_now() WHERE task_id = $1", [later.id]);
  expect(await wakeDueRuns(db)).toBe(1);
  expect(mine(await claim())).toEqual([later.id]);
});

test("a task that waits for its start can be cancelled", async () => {
  const caller = await api.caller();
  const start_after = new Date(Date.now() + HOUR_MS).toISOString();
  const task = await create(caller, { start_after });
  const response = await send("POST", `/v1/tasks/${task.id}/cancel`, { key: caller.key });
  expect(await response.json()).toMatchObject({ state: "cancelled" });
  await admin.query("UPDATE runs SET wake_at = clock_now() WHERE task_id = $1", [task.id]);
  expect(await wakeDueRuns(db)).toBe(0);
});

test.each(["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+10:00", "2020-01-01T00:00:00-23:00"])(
  "the start %s, which Postgres would not read, is in the past like any other",
  async (start_after) => {
    const task = await create(await api.caller(), { start_after });
    expect(Date.parse(task.start_after!)).toBeLessThan(Date.now());
    expect((await claim()).map(({ taskId }) => taskId)).toContain(task.id);
  },
);

test.each([
  "tomorrow",
  "2027-01-01",
  "2027-01-01T00:00:00",
  new Date(Date.now() + 400 * 24 * HOUR_MS).toISOString(),
])("the start %s is refused with its field", async (start_after) => {
  const caller = await api.caller();
  const response = await send("POST", "/v1/tasks", {
    key: caller.key,
    json: { agent: "gray", prompt: "Later.", start_after },
  });
  const problem = await expectProblem(response, 400, "validation_failed");
  expect(JSON.stringify(problem)).toContain("start_after");
});

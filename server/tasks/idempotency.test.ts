import { expect, test } from "vitest";
import { taskSchema } from "@guildhall/sdk/contract/task.ts";
import { type Caller, expectProblem, startTestApi } from "../test/api.ts";
import { forgetOldAnswers } from "./idempotency.ts";

const api = await startTestApi();
const { admin, db, send } = api;

const post = (key: string, idempotencyKey: string, json: object) =>
  send("POST", "/v1/tasks", { key, json, headers: { "idempotency-key": idempotencyKey } });
const body = { agent: "gray", prompt: "Do it once.", limits: { model_calls: 3, tool_calls: 4 } };

async function tasksOf(caller: Caller): Promise<number> {
  const { rows } = await admin.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM tasks WHERE workspace_id = $1",
    [caller.workspaceId],
  );
  return rows[0]!.n;
}

test("a repetition gets the first answer again and makes nothing", async () => {
  const caller = await api.caller();
  const first = await post(caller.key, "k1", body);
  expect(first.headers.get("idempotent-replayed")).toBeNull();
  // The same request in another order of keys.
  const again = await post(caller.key, "k1", {
    limits: { tool_calls: 4, model_calls: 3 },
    prompt: "Do it once.",
    agent: "gray",
  });
  expect(again.status).toBe(201);
  expect(again.headers.get("idempotent-replayed")).toBe("true");
  expect(await again.text()).toBe(await first.text());
  expect(await tasksOf(caller)).toBe(1);
});

test("the answer stays what it was, also when the task has moved on", async () => {
  const caller = await api.caller();
  const first = taskSchema.parse(await (await post(caller.key, "k1", body)).json());
  await send("POST", `/v1/tasks/${first.id}/cancel`, { key: caller.key });
  expect(await (await post(caller.key, "k1", body)).json()).toEqual(first);
});

test("the same key with another body is refused and makes nothing", async () => {
  const caller = await api.caller();
  await post(caller.key, "k1", body);
  const response = await post(caller.key, "k1", { ...body, prompt: "Do something else." });
  const problem = await expectProblem(response, 422, "idempotency_key_reused");
  expect(problem.errors?.[0]?.field).toBe("idempotency-key");
  expect(await tasksOf(caller)).toBe(1);
});

test("requests that come at once make one task, and all answer it", async () => {
  const caller = await api.caller();
  const atOnce = 8;
  // All have looked for a stored answer, found none and wait at the workspace's audit, until this lets them go on.
  await admin.query("BEGIN");
  await admin.query("SELECT 1 FROM audit_heads WHERE workspace_id = $1 FOR UPDATE", [
    caller.workspaceId,
  ]);
  const sent = Array.from({ length: atOnce }, () => post(caller.key, "k1", body));
  const waiting = async () =>
    (await admin.query("SELECT DISTINCT pid FROM pg_locks WHERE NOT granted")).rows.length;
  await expect.poll(waiting, { timeout: 10_000 }).toBe(atOnce);
  await admin.query("COMMIT");
  const answers = await Promise.all(sent);
  expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: atOnce }, () => 201));
  const ids = await Promise.all(
    answers.map(async (answer) => taskSchema.parse(await answer.json()).id),
  );
  expect(new Set(ids).size).toBe(1);
  expect(await tasksOf(caller)).toBe(1);
  expect(answers.filter((answer) => !answer.headers.has("idempotent-replayed"))).toHaveLength(1);
});

test("a refused request uses no key up", async () => {
  const caller = await api.caller();
  await expectProblem(
    await post(caller.key, "k1", { ...body, agent: "nobody" }),
    422,
    "agent_not_found",
  );
  expect((await post(caller.key, "k1", body)).status).toBe(201);
});

test("a key belongs to who sent it: another credential's and another workspace's are other keys", async () => {
  const caller = await api.caller();
  const second = await api.keyWith(caller, ["tasks:write"]);
  const other = await api.caller();
  const answers = await Promise.all(
    [caller.key, second, other.key].map((key) => post(key, "k1", body)),
  );
  const tasks = await Promise.all(answers.map(async (a) => taskSchema.parse(await a.json()).id));
  expect(new Set(tasks).size).toBe(3);
});

test.each([
  ["empty", ""],
  ["longer than 255 characters", "k".repeat(256)],
  ["with a space", "a b"],
])("a key that is %s is refused", async (_title, idempotencyKey) => {
  const { key } = await api.caller();
  const problem = await expectProblem(
    await post(key, idempotencyKey, body),
    400,
    "validation_failed",
  );
  expect(problem.errors?.[0]?.field).toBe("idempotency-key");
});

test("old answers are forgotten however many there are, in short statements that find them by their age", async () => {
  const { workspaceId } = await api.caller();
  await admin.query(
    `INSERT INTO idempotency_keys (workspace_id, principal, route, key, request_hash, status, response, created_at)
      SELECT $1, 'user:a', 'POST /v1/tasks', 'k' || g, '', 201, '{}', clock_now() - interval '2 days' FROM generate_series(1, 25000) g`,
    [workspaceId],
  );
  const longest: number[] = [];
  const counting = {
    ...db,
    withPlatform: ((work) =>
      db.withPlatform((tx) =>
        work({
          async query(statement) {
            const rows = await tx.query(statement);
            longest.push(rows.length);
            return rows as never;
          },
        }),
      )) as typeof db.withPlatform,
  };
  expect(await forgetOldAnswers(counting)).toBe(25_000);
  expect(Math.max(...longest)).toBe(10_000);
  const { rows } = await admin.query<{ indexdef: string }>(
    "SELECT indexdef FROM pg_indexes WHERE tablename = 'idempotency_keys'",
  );
  expect(rows.map((row) => row.indexdef).join()).toContain("(created_at)");
});

test("answers are forgotten after a day, not before", async () => {
  const caller = await api.caller();
  const first = taskSchema.parse(await (await post(caller.key, "old", body)).json());
  await post(caller.key, "new", body);
  await admin.query(
    "UPDATE idempotency_keys SET created_at = clock_now() - interval '25 hours' WHERE workspace_id = $1 AND key = 'old'",
    [caller.workspaceId],
  );
  expect(await forgetOldAnswers(db)).toBe(1);
  expect((await post(caller.key, "new", body)).headers.get("idempotent-replayed")).toBe("true");
  const again = taskSchema.parse(await (await post(caller.key, "old", body)).json());
  expect(again.id).not.toBe(first.id);
});

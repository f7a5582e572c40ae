import { expect, test } from "vitest";
import { limitListSchema } from "@guildhall/sdk/contract/limit.ts";
import { verifyAudit } from "../audit/audit.ts";
import { setPlan } from "../ledger/plan-terms.ts";
import { type Caller, expectProblem, startTestApi } from "../test/api.ts";
import { createQueuedRun } from "../test/tenant.ts";
import { endTemporaryLimits } from "./temporary-limits.ts";

const api = await startTestApi();
const { admin, db, send } = api;
const USD = 1_000_000_000;
const inAnHour = (): string => new Date(Date.now() + 3_600_000).toISOString();

async function put(caller: Caller, limit: object): Promise<void> {
  const response = await send("PUT", "/v1/limits", { key: caller.key, json: limit });
  expect({ status: response.status, body: await response.json() }).toMatchObject({ status: 200 });
}

/** The row of a limit, as the page has it. */
async function rowOf(caller: Caller, meter: string, level = "workspace") {
  const answer = await send("GET", "/v1/limits", { key: caller.key });
  const { data } = limitListSchema.parse(await answer.json());
  return data.find((row) => row.meter === meter && row.level === level && row.scope_id !== "*");
}

/** As if the time of all exceptions of the workspace were over. */
async function pass({ workspaceId }: Caller): Promise<void> {
  await admin.query(
    "UPDATE temporary_limits SET ends_at = now() - interval '1 second' WHERE workspace_id = $1",
    [workspaceId],
  );
}

async function starter(): Promise<Caller> {
  const caller = await api.caller();
  const { workspaceId } = caller;
  await db.withPlatform((tx) =>
    setPlan(tx, { workspaceId, plan: "starter", actor: "operator", origin: "test" }),
  );
  return caller;
}

const budget = { meter: "model_cost", level: "workspace" } as const;

test("a limit that is raised for a while is in force until then, and afterwards the former one again, by versions with audit lines", async () => {
  const caller = await starter();
  await put(caller, { ...budget, amount: USD });
  const until = inAnHour();
  await put(caller, { ...budget, amount: 3 * USD, until });
  expect(await rowOf(caller, "model_cost")).toMatchObject({
    max: 3 * USD,
    temporary: { ends_at: until, former: USD },
  });
  expect(await endTemporaryLimits(db)).toBe(0);
  await pass(caller);
  expect(await endTemporaryLimits(db)).toBe(1);
  const row = await rowOf(caller, "model_cost");
  expect(row).toMatchObject({ max: USD, temporary: null, version: 4 });
  expect(row?.changes[0]).toMatchObject({
    amount: USD,
    changed_by: "system:limit_ended",
    changed_by_name: "Guildhall, its time was over",
  });
  const { rows } = await admin.query(
    "SELECT action FROM audit_lines WHERE workspace_id = $1 AND action LIKE 'limit.%' ORDER BY seq",
    [caller.workspaceId],
  );
  expect(rows.map((line: { action: string }) => line.action)).toEqual([
    "limit.set",
    "limit.set",
    "limit.ended",
  ]);
  expect(await db.withWorkspace(caller.workspaceId, verifyAudit)).toMatchObject({ ok: true });
});

test("a second exception keeps what was before the first; a lasting change ends the exception", async () => {
  const caller = await starter();
  await put(caller, { ...budget, amount: USD });
  await put(caller, { ...budget, amount: 2 * USD, until: inAnHour() });
  await put(caller, { ...budget, amount: 3 * USD, until: inAnHour() });
  expect((await rowOf(caller, "model_cost"))?.temporary?.former).toBe(USD);
  await pass(caller);
  await endTemporaryLimits(db);
  expect((await rowOf(caller, "model_cost"))?.max).toBe(USD);
  await put(caller, { ...budget, amount: 2 * USD, until: inAnHour() });
  await put(caller, { ...budget, amount: 4 * USD });
  expect(await rowOf(caller, "model_cost")).toMatchObject({ max: 4 * USD, temporary: null });
  await pass(caller);
  expect(await endTemporaryLimits(db)).toBe(0);
  expect((await rowOf(caller, "model_cost"))?.max).toBe(4 * USD);
});

test("what the plan allows is never exceeded, neither for a while nor when the former limit comes back after a smaller plan", async () => {
  const caller = await starter();
  await put(caller, { ...budget, amount: 4 * USD });
  const beyond = await send("PUT", "/v1/limits", {
    key: caller.key,
    json: { ...budget, amount: 6 * USD, until: inAnHour() },
  });
  await expectProblem(beyond, 422, "limit_beyond_plan");
  expect((await rowOf(caller, "model_cost"))?.temporary).toBeNull();
  await put(caller, { ...budget, amount: 5 * USD, until: inAnHour() });
  const { workspaceId } = caller;
  await db.withPlatform((tx) =>
    setPlan(tx, { workspaceId, plan: "free", actor: "operator", origin: "test" }),
  );
  await pass(caller);
  await endTemporaryLimits(db);
  expect((await rowOf(caller, "model_cost"))?.max).toBe(USD / 2);
});

test("the end may be told in any zone that the format allows", async () => {
  const caller = await api.caller();
  const until = inAnHour();
  const west = `${new Date(Date.parse(until) - 23 * 3_600_000).toISOString().slice(0, -1)}-23:00`;
  await put(caller, { ...budget, amount: 3 * USD, until: west });
  expect((await rowOf(caller, "model_cost"))?.temporary).toMatchObject({ ends_at: until });
});

test("tasks, their calls, agents and keys have exceptions too; without a former limit there is none again", async () => {
  const caller = await api.caller();
  const { taskId } = await createQueuedRun(admin, caller, { costLimitNanoUsd: USD });
  const until = inAnHour();
  await put(caller, {
    meter: "model_cost",
    level: "task",
    scope_id: taskId,
    amount: 2 * USD,
    until,
  });
  await put(caller, { meter: "tool_calls", level: "task", scope_id: taskId, amount: 5, until });
  const agent = { meter: "agent_time", level: "agent", scope_id: caller.agentId };
  await put(caller, { ...agent, amount: 60_000, until });
  expect(await rowOf(caller, "agent_time", "agent")).toMatchObject({
    max: 60_000,
    temporary: { former: null },
  });
  await pass(caller);
  expect(await endTemporaryLimits(db)).toBe(3);
  expect(await rowOf(caller, "agent_time", "agent")).toBeUndefined();
  const { rows } = await admin.query(
    `SELECT t.tool_call_limit AS calls, (SELECT l.amount::float8 FROM limits l WHERE l.workspace_id = t.workspace_id AND l.level = 'task' AND l.meter = 'model_cost' AND l.scope_id = t.id ORDER BY version DESC LIMIT 1) AS cost
      FROM tasks t WHERE t.id = $1`,
    [taskId],
  );
  expect(rows).toEqual([{ calls: 1_000, cost: USD }]);
});

test("ten processes at once end each exception once", async () => {
  const callers = [await starter(), await starter(), await starter()];
  for (const caller of callers) {
    await put(caller, { ...budget, amount: USD });
    await put(caller, { ...budget, amount: 2 * USD, until: inAnHour() });
    await pass(caller);
  }
  const ended = await Promise.all(Array.from({ length: 10 }, () => endTemporaryLimits(db)));
  expect(ended.reduce((sum, count) => sum + count, 0)).toBe(3);
  for (const caller of callers)
    expect(await rowOf(caller, "model_cost")).toMatchObject({ max: USD, version: 4 });
});

test.each(["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "tomorrow"])(
  "until %s is refused with the field named",
  async (until) => {
    const caller = await api.caller();
    const json = { ...budget, amount: 1_000, until };
    const answer = await send("PUT", "/v1/limits", { key: caller.key, json });
    const problem = await expectProblem(answer, 400, "validation_failed");
    expect(problem.errors?.[0]?.field).toBe("until");
  },
);

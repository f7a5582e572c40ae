import { expect, test, vi } from "vitest";
import type { Event } from "@guildhall/sdk/contract/event.ts";
import { verify } from "../../operator/verify.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  eventsOf,
  eventually,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startWorker,
  taskReaches,
  taskState,
} from "../../test/run-stage.ts";
import { createEventBell } from "../event-bell.ts";
import { createQuestions } from "../questions.ts";

const database = await createTestDatabase();
const { db, admin } = database;

/** No law is broken, and nothing is left open. */
async function expectLawful(): Promise<void> {
  const results = await verify(db, { quiet: true });
  expect(results.filter((result) => !result.ok)).toEqual([]);
}

async function childrenOf(taskId: string) {
  const { rows } = await admin.query<{ id: string; agent_id: string }>(
    "SELECT id, agent_id FROM tasks WHERE parent_task_id = $1 ORDER BY id",
    [taskId],
  );
  return rows;
}

/** Waits for the task that this one delegates. */
function onlyChildOf(taskId: string): Promise<{ id: string; agent_id: string }> {
  return eventually(async () => {
    const [child] = await childrenOf(taskId);
    if (child === undefined) throw new Error("nothing is delegated yet");
    return child;
  });
}

/** Posted and held of a task's budget, what the holds of the runs say, and what the provider billed; nano-USD. */
async function moneyOf(taskIds: readonly string[]) {
  const budgets = await admin.query<{ scope_id: string; posted: number; held: number }>(
    "SELECT scope_id, posted::int AS posted, held::int AS held FROM budgets WHERE level = 'task' AND meter = 'model_cost' AND scope_id = ANY($1)",
    [taskIds],
  );
  const holds = await admin.query<{ posted: number; calls: number }>(
    "SELECT coalesce(sum(h.posted), 0)::int AS posted, count(*)::int AS calls FROM holds h JOIN runs r ON r.id = h.run_id WHERE r.task_id = ANY($1)",
    [taskIds],
  );
  const of = new Map(budgets.rows.map((row) => [row.scope_id, row]));
  return { of, ...holds.rows[0]! };
}

const resultOf = (events: readonly Event[], tool: string) =>
  events.flatMap((event) =>
    event.type === "tool.completed" && event.data.name === tool ? [event.data] : [],
  );

const prompt = "Decide whether we can use these figures.";
const inputs = { "sales.csv": salesCsv };

test("with one slot a task that delegates gives its slot to the child, gets it back with the result, and ends", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database, { concurrentTasks: 1 });
  const { taskId, runId } = await giveTask(database, {
    stage,
    tenant,
    agentId: "marcus",
    prompt,
    inputs,
  });
  // Somebody else wants the slot, too: it must not fall to him between parent and child.
  const other = await giveTask(database, { stage, tenant, agentId: "sable", prompt: "Say hello" });
  startWorker(stage);
  const task = await taskReaches(database, taskId, "succeeded", "failed");
  expect(task).toMatchObject({ state: "succeeded", cause: null });

  const [child, ...more] = await childrenOf(taskId);
  expect(more).toEqual([]);
  expect(child).toMatchObject({ agent_id: "gray" });
  expect(await taskState(database, child!.id)).toMatchObject({ state: "succeeded" });

  const events = await eventsOf(database, taskId);
  expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1));
  const parked = events.findIndex((event) => event.type === "task.waiting");
  expect(events[parked]?.data).toEqual({ kind: "child", child_task_id: child!.id });
  const childEvents = await eventsOf(database, child!.id);
  const claimed = childEvents.find((event) => event.type === "run.claimed");
  const ended = childEvents.at(-1);
  expect(ended?.type).toBe("task.succeeded");
  // The child runs between the moment its parent parks and the moment it resumes, never beside it.
  expect(claimed!.at >= events[parked]!.at).toBe(true);
  const resumed = events.find((event) => event.type === "run.resumed");
  expect(resumed!.at >= ended!.at).toBe(true);
  const delegations = resultOf(events, "delegate_task");
  expect(delegations).toMatchObject([{ is_error: false }]);
  expect(JSON.parse(delegations[0]!.preview)).toMatchObject({
    task_id: child!.id,
    state: "succeeded",
    artifacts: ["from-gray/findings.md"],
  });

  await taskReaches(database, other.taskId, "succeeded");
  const [turn] = (
    await admin.query<{ late: boolean }>(
      "SELECT (SELECT started_at FROM tasks WHERE id = $1) >= (SELECT ended_at FROM tasks WHERE id = $2) AS late",
      [other.taskId, taskId],
    )
  ).rows;
  expect(turn).toEqual({ late: true });

  const written = await admin.query<{ path: string; sha256: string }>(
    "SELECT path, sha256 FROM artifacts WHERE run_id = $1",
    [runId],
  );
  // What came back lies in its folder, but only what it wrote itself is its own work.
  expect(written.rows).toHaveLength(1);
  const stored = await stage.files.open({
    workspaceId: tenant.workspaceId,
    sha256: written.rows[0]!.sha256,
  });
  const report = Buffer.concat(await stored.toArray()).toString();
  expect(report).toContain("## Result from gray");
  expect(report).toContain("5 rows");

  const money = await moneyOf([taskId, child!.id]);
  expect(money.of.get(taskId)).toMatchObject({ posted: money.posted, held: 0 });
  expect(money.of.get(child!.id)!.posted).toBeGreaterThan(0);
  expect(money.of.get(child!.id)!.posted).toBeLessThan(money.posted);
  await expectLawful();
});

test("a task that is ended while its child works takes the child with it, and nothing follows", async () => {
  const stage = await openStage(database, { latency: { firstByteMs: 300, perEventMs: 20 } });
  const tenant = await openWorkspace(database);
  const { taskId } = await giveTask(database, { stage, tenant, agentId: "marcus", prompt, inputs });
  const worker = startWorker(stage);
  const child = await onlyChildOf(taskId);
  await eventually(async () =>
    expect((await eventsOf(database, child.id)).map((event) => event.type)).toContain(
      "model.started",
    ),
  );
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: "SELECT end_task($1, $2, 'cancelled', 'requested', NULL, '{}')",
      values: [tenant.workspaceId, taskId],
    }),
  );
  expect(await taskState(database, child.id)).toMatchObject({
    state: "cancelled",
    cause: "parent_ended",
  });
  await eventually(async () => {
    expect(worker.running()).toBe(0);
    const { of } = await moneyOf([taskId, child.id]);
    expect([...of.values()].map((budget) => budget.held)).toEqual([0, 0]);
  });
  for (const id of [taskId, child.id])
    expect((await eventsOf(database, id)).at(-1)?.type).toBe("task.cancelled");
  await expectLawful();
});

function openQuestions(wake: () => void) {
  const bell = { runReady: wake, taskEnded: () => undefined };
  return createQuestions({ db, bell, eventBell: createEventBell() });
}

async function questionOf(taskId: string): Promise<string> {
  const { rows } = await admin.query<{ id: string }>(
    "SELECT id FROM questions WHERE task_id = $1",
    [taskId],
  );
  if (rows[0] === undefined) throw new Error("nothing was asked yet");
  return rows[0].id;
}

const asking = "Check with me first, then profile these CSV files and write report.md";

test.each([
  { when: "while the task waits", wait: true },
  { when: "as soon as it is asked, whether the task waits already or not", wait: false },
])("a person's answer that comes $when brings the task to its end", async ({ wait }) => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId } = await giveTask(database, { stage, tenant, prompt: asking, inputs });
  const worker = startWorker(stage);
  if (wait) {
    const { parked } = await taskReaches(database, taskId, "waiting");
    expect(parked).toMatchObject({ kind: "question", question_id: await questionOf(taskId) });
    await eventually(() => expect(worker.running()).toBe(0));
  }
  const id = await vi.waitFor(() => questionOf(taskId), { timeout: 10_000, interval: 1 });
  const caller = { workspaceId: tenant.workspaceId, actor: "user:usr_1", origin: "test" };
  await openQuestions(() => worker.wake()).answer({
    caller,
    id,
    answer: "Leave out the year 2020.",
  });
  expect(await taskReaches(database, taskId, "succeeded", "failed")).toMatchObject({
    state: "succeeded",
  });
  const [asked] = resultOf(await eventsOf(database, taskId), "ask_human");
  expect(asked).toMatchObject({
    is_error: false,
    preview: '{"answer":"Leave out the year 2020."}',
  });
  await expectLawful();
});

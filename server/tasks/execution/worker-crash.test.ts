import { once } from "node:events";
import { expect, it } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { killedAt, sentPathOf, startWorkerProcess } from "../../test/mortal-worker.ts";
import {
  brokenLaws,
  eventsOf,
  eventually,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startJobs,
  startWorker,
  taskReaches,
  type Stage,
} from "../../test/run-stage.ts";
import { createSendMessage } from "../../test/worker-process.ts";

const database = await createTestDatabase();
const { admin } = database;
const prompt = "Profile these CSV files and write report.md";
const inputs = { "sales.csv": salesCsv };

/** The model steps that were stored, and what the provider has billed for them. */
async function billing(stage: Stage, runId: string) {
  const steps = await admin.query(
    "SELECT 1 FROM steps WHERE run_id = $1 AND kind = 'model' AND state = 'done'",
    [runId],
  );
  const holds = await admin.query<{ posted: number }>(
    "SELECT coalesce(sum(posted), 0)::int AS posted FROM holds WHERE run_id = $1",
    [runId],
  );
  const { billed_calls: billedCalls, cost_nano_usd: costNanoUsd } =
    stage.simulator.meter.report().totals;
  return {
    modelSteps: steps.rowCount,
    postedNanoUsd: holds.rows[0]?.posted,
    billedCalls,
    costNanoUsd,
  };
}

/** The run dies at the point, goes on in another worker, and ends as if nothing had happened. */
async function crashAndGoOn(faultAt: string, agentId = "gray") {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const task = await giveTask(database, { stage, tenant, agentId, prompt, inputs });
  await killedAt(database, stage, faultAt);
  startJobs(stage);
  startWorker(stage, { extraTools: [createSendMessage(sentPathOf(stage))] });
  const { state, result } = await taskReaches(database, task.taskId, "succeeded", "failed");
  expect({ state, result }).toMatchObject({ state: "succeeded" });
  expect(await brokenLaws(database)).toEqual([]);
  return { stage, ...task, events: await eventsOf(database, task.taskId) };
}

it.each([
  ["before it has done anything", "run.claimed"],
  ["after a stored step", "step.stored:3"],
  ["inside a tool that may be repeated", "tool.started:2"],
  ["after such a tool, before its result is stored", "tool.executed:3"],
  ["after an answer of the model, before it is stored", "model.answered:2"],
  ["in the middle of an answer of the model", "model.text:6"],
  ["before its end is written", "run.outcome"],
])(
  "a run whose worker is killed %s goes on elsewhere, and each model step is paid once",
  async (_, faultAt) => {
    const { stage, runId, events } = await crashAndGoOn(faultAt);
    const { modelSteps, billedCalls, costNanoUsd, postedNanoUsd } = await billing(stage, runId);
    expect(billedCalls).toBe(modelSteps);
    expect(postedNanoUsd).toBe(costNanoUsd);

    expect(events.map((event) => event.seq)).toEqual(events.map((_event, index) => index + 1));
    const types = events.map((event) => event.type);
    expect(types.filter((type) => type === "run.claimed")).toHaveLength(2);
    expect(types).toContain("run.lease_lost");
    expect(types.filter((type) => type === "task.succeeded")).toHaveLength(1);
    const completed = events.flatMap((event) =>
      event.type === "model.completed" ? [event.data] : [],
    );
    expect(completed).toHaveLength(modelSteps ?? -1);
    expect(completed.reduce((sum, data) => sum + data.cost_nano_usd, 0)).toBe(costNanoUsd);
  },
);

it("a task that kills every worker fails after its third, with the cause", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt, inputs });
  startJobs(stage);
  for (let attempt = 1; attempt <= 3; attempt++) await killedAt(database, stage, "tool.started");
  const task = await taskReaches(database, taskId, "failed");
  expect(task.cause).toBe("attempts_exhausted");
  const attempts = await admin.query("SELECT 1 FROM attempts WHERE run_id = $1", [runId]);
  expect(attempts.rowCount).toBe(3);
  expect((await eventsOf(database, taskId)).at(-1)?.type).toBe("task.failed");
  expect(await brokenLaws(database)).toEqual([]);
});

it("an agent that repeats itself is stopped after the same steps when the worker dies right after it was warned", async () => {
  const stage = await openStage(database, { faults: [{ kind: "repeat" }] });
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt, inputs });
  await killedAt(database, stage, "step.stored:8");
  startJobs(stage);
  startWorker(stage);
  const task = await taskReaches(database, taskId, "succeeded", "failed");
  expect(task.cause).toBe("loop");
  const { rows } = await admin.query<{ refused: boolean }>(
    "SELECT coalesce((body->>'refused')::boolean, false) AS refused FROM steps WHERE run_id = $1 AND kind = 'tool' ORDER BY step_no",
    [runId],
  );
  expect(rows.map((row) => row.refused)).toEqual([false, false, false, true]);
  expect((await billing(stage, runId)).billedCalls).toBe(5);
});

it("a worker that is killed after it delegated, before it waits, leaves one child, and its run gets the result", async () => {
  // Marcus lists the files, then he delegates.
  const { taskId, events } = await crashAndGoOn("tool.executed:2", "marcus");
  const { rows } = await admin.query<{ state: string }>(
    "SELECT state FROM tasks WHERE parent_task_id = $1",
    [taskId],
  );
  expect(rows).toEqual([{ state: "succeeded" }]);
  const types = events.map((event) => event.type);
  expect(types).toContain("run.lease_lost");
  expect(types.filter((type) => type === "task.delegated")).toHaveLength(1);
});

it("a worker that is asked to stop hands its run over between two steps, and nothing counts as lost", async () => {
  const stage = await openStage(database, { latency: { firstByteMs: 150, perEventMs: 0 } });
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, { stage, tenant, prompt, inputs });
  const first = startWorkerProcess(database, stage);
  await eventually(async () => {
    const { rowCount } = await admin.query("SELECT 1 FROM steps WHERE run_id = $1", [runId]);
    expect(rowCount).toBeGreaterThan(1);
  });
  first.kill("SIGTERM");
  const [code] = (await once(first, "exit")) as [number];
  expect(code).toBe(0);
  startWorker(stage);
  await taskReaches(database, taskId, "succeeded");
  const types = (await eventsOf(database, taskId)).map((event) => event.type);
  expect(types).toContain("run.released");
  expect(types).not.toContain("run.lease_lost");
  const { modelSteps, billedCalls } = await billing(stage, runId);
  expect(billedCalls).toBe(modelSteps);
});

import { afterEach, expect, it } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import {
  brokenLaws,
  eventsOf,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startJobs,
  startWorker,
  taskReaches,
  type StageOptions,
} from "../../test/run-stage.ts";

const database = await createTestDatabase();
const { admin } = database;

afterEach(async () => {
  expect(await brokenLaws(database)).toEqual([]);
});

/** Runs a task with a model that does what the faults say, to its end. */
async function runToEnd(faults: NonNullable<StageOptions["faults"]>) {
  const stage = await openStage(database, { faults });
  const tenant = await openWorkspace(database);
  const prompt = "Profile these CSV files and write report.md";
  const given = await giveTask(database, {
    stage,
    tenant,
    prompt,
    inputs: { "sales.csv": salesCsv },
  });
  startJobs(stage);
  startWorker(stage);
  const task = await taskReaches(database, given.taskId, "succeeded", "failed", "paused");
  const events = await eventsOf(database, given.taskId);
  const summaries = events.flatMap((event) =>
    event.type === "tool.completed" && event.data.is_error ? [event.data.summary] : [],
  );
  return { stage, task, events, summaries, ...given };
}

it("an agent that makes the same call over and over is warned, then its task fails with the cause loop, and is not tried again", async () => {
  const { stage, task, events, summaries, runId } = await runToEnd([{ kind: "repeat" }]);
  expect(task).toMatchObject({ state: "failed", cause: "loop" });
  expect(summaries).toEqual(["list_files was not run again: the agent repeats itself"]);
  expect(events.at(-1)).toMatchObject({ type: "task.failed", data: { cause: "loop" } });
  // One to begin with, three repetitions, and the one after the warning: the rest of the budget is not spent.
  expect(stage.simulator.meter.report().totals.billed_calls).toBe(5);
  const attempts = await admin.query("SELECT 1 FROM attempts WHERE run_id = $1", [runId]);
  expect(attempts.rowCount).toBe(1);
});

it("an agent that goes on after the warning ends its task as if nothing had been", async () => {
  const { task, summaries } = await runToEnd([{ kind: "repeat", times: 4 }]);
  expect(task.state).toBe("succeeded");
  expect(summaries).toHaveLength(1);
});

it("an agent that goes round between two calls is stopped like one that makes a single one", async () => {
  const { task, summaries } = await runToEnd(
    // From its third answer on: then it has made two calls.
    Array.from({ length: 20 }, (_, n) => ({ kind: "repeat", calls: 2, match: { nth: n + 3 } })),
  );
  expect(task).toMatchObject({ state: "failed", cause: "loop" });
  expect(summaries).toHaveLength(2);
});

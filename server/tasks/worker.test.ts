import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import {
  eventsOf,
  giveTask,
  openStage,
  openWorkspace,
  salesCsv,
  startWorker,
  taskReaches,
} from "../test/run-stage.ts";

const database = await createTestDatabase();
const { admin } = database;

it("a task over files runs to its end: real figures in the report, artifacts kept, events dense and valid", async () => {
  const stage = await openStage(database);
  const tenant = await openWorkspace(database);
  const { taskId, runId } = await giveTask(database, {
    stage,
    tenant,
    prompt: "Profile these CSV files and write report.md",
    inputs: { "sales.csv": salesCsv },
  });
  startWorker(stage);
  const task = await taskReaches(database, taskId, "succeeded", "failed");
  expect(task).toMatchObject({ state: "succeeded", cause: null });
  expect(task.result).toContain("5 rows");

  const events = await eventsOf(database, taskId);
  expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1));
  expect(events.at(-1)?.type).toBe("task.succeeded");
  const types = new Set(events.map((event) => event.type));
  for (const type of [
    "run.claimed",
    "model.started",
    "model.text",
    "model.completed",
    "tool.started",
    "tool.completed",
    "artifact.written",
  ])
    expect(types).toContain(type);

  const artifacts = await admin.query<{ path: string; sha256: string }>(
    "SELECT path, sha256 FROM artifacts WHERE run_id = $1",
    [runId],
  );
  expect(artifacts.rows.map((row) => row.path)).toContain("report.md");
});

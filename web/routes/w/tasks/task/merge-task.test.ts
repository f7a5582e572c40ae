import { describe, expect, it } from "vitest";
import { reduceAll } from "../../../../events/reducer.ts";
import { emptyTaskView } from "../../../../events/task-view.ts";
import { streamOf } from "../../../../test/events.ts";
import { makeTask } from "../../../../test/tasks.ts";
import { mergeTask } from "./merge-task.ts";

const artifact = (size: number) => ({
  id: "art_1",
  path: "report.md",
  size_bytes: size,
  sha256: String(size),
  created_at: "",
});
const view = reduceAll(
  emptyTaskView("task_1"),
  streamOf([
    { type: "run.claimed", data: { run_id: "r", attempt: 1, worker_id: "w" } },
    { type: "artifact.written", data: artifact(2) },
    { type: "task.succeeded", data: { result: "done" } },
  ]),
);

describe("mergeTask", () => {
  it("brings an older row up to date", () => {
    const merged = mergeTask(makeTask({ artifacts: [artifact(1)], last_seq: 1 }), view);
    expect(merged).toMatchObject({ state: "succeeded", result: "done" });
    expect(merged.artifacts).toEqual([artifact(2)]);
    expect(merged.ended_at).not.toBeNull();
  });

  it("leaves a row alone that knows as much as the events", () => {
    const row = makeTask({ last_seq: 3 });
    expect(mergeTask(row, view)).toBe(row);
  });
});

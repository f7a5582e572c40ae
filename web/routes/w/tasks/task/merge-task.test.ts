import { describe, expect, it } from "vitest";
import { reduceAll } from "../../../../events/reducer.ts";
import { emptyTaskView } from "../../../../events/task-view.ts";
import { streamOf } from "../../../../test/events.ts";
import { makeTask } from "../../../../test/tasks.ts";
import { mergeTask } from "./merge-task.ts";

const artifact = (size: number, second = size) => ({
  id: "art_1",
  path: "report.md",
  size_bytes: size,
  sha256: String(size),
  created_at: `2026-01-01T00:00:0${second}.000Z`,
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
    const row = makeTask({ last_seq: 3, artifacts: [artifact(3)] });
    expect(mergeTask(row, view)).toEqual(row);
  });

  it("keeps the files that events told of when a pushed row is newer and knows none", () => {
    const row = makeTask({ last_seq: 9, artifacts: [] });
    expect(mergeTask(row, view).artifacts).toEqual([artifact(2)]);
  });
});

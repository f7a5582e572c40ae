import type { TaskDetail } from "@guildhall/sdk/contract/task.ts";
import type { TaskView } from "../../../../events/task-view.ts";

/** The row, brought up to date by the events that came after it was read. */
export function mergeTask(row: TaskDetail, view: TaskView): TaskDetail {
  if (view.lastSeq <= row.last_seq) return row;
  return {
    ...row,
    state: view.state,
    cause: view.cause ?? row.cause,
    parked: view.parked ?? null,
    result: view.result ?? row.result,
    started_at: row.started_at ?? view.startedAt ?? null,
    ended_at: row.ended_at ?? view.endedAt ?? null,
    artifacts: mergeArtifacts(row, view),
  };
}

function mergeArtifacts(row: TaskDetail, view: TaskView): TaskDetail["artifacts"] {
  const newer = new Map(view.artifacts.map((artifact) => [artifact.path, artifact]));
  const kept = row.artifacts.map((artifact) => newer.get(artifact.path) ?? artifact);
  const known = new Set(row.artifacts.map((artifact) => artifact.path));
  return [...kept, ...view.artifacts.filter((artifact) => !known.has(artifact.path))];
}

import type { Artifact, TaskDetail } from "@guildhall/sdk/contract/task.ts";
import type { TaskView } from "../../../../events/task-view.ts";

/** The row, brought up to date by the events that came after it was read. */
export function mergeTask(row: TaskDetail, view: TaskView): TaskDetail {
  // A pushed row tells nothing of files, so that a row may be newer than the files that stand in it.
  const artifacts = mergeArtifacts(row.artifacts, view.artifacts);
  if (view.lastSeq <= row.last_seq) return { ...row, artifacts };
  return {
    ...row,
    state: view.state,
    cause: view.cause ?? row.cause,
    parked: view.parked ?? null,
    result: view.result ?? row.result,
    started_at: row.started_at ?? view.startedAt ?? null,
    ended_at: row.ended_at ?? view.endedAt ?? null,
    artifacts,
  };
}

/** The later one of each path, those of the row first. */
function mergeArtifacts(row: readonly Artifact[], view: readonly Artifact[]): Artifact[] {
  const merged = new Map(row.map((artifact) => [artifact.path, artifact]));
  for (const artifact of view) {
    const known = merged.get(artifact.path);
    if (known === undefined || known.created_at <= artifact.created_at) {
      merged.set(artifact.path, artifact);
    }
  }
  return [...merged.values()];
}

import { findAgent } from "../../agents/agents.ts";
import type { Db } from "../../platform/db.ts";
import { invariant } from "../../platform/errors.ts";
import { findDelegatedFiles, type DelegatedFile } from "../files/delegated-files.ts";
import type { Claim, RunBrief } from "./run-claims.ts";
import { findSnapshot, type KeptEntry } from "./run-snapshot.ts";

/** A file that lies in the file store: an input of the task, or what an earlier attempt wrote. */
export type StoredPath = { path: string; sizeBytes: number; sha256: string };

/** What a worker must know of a task to execute it. */
export type RunTask = RunBrief & {
  inputs: readonly StoredPath[];
  /** What is recorded of the run's folder, inputs apart; undefined when no step has changed it yet. */
  snapshot: readonly KeptEntry[] | undefined;
  artifacts: readonly StoredPath[];
  /** What ended tasks that it delegated wrote. */
  delegated: readonly DelegatedFile[];
};

type TaskRow = {
  agent_id: string;
  prompt: string;
  upload_id: string | null;
  tool_call_limit: number;
  wall_time_left_ms: number;
  start_delay_ms: number | null;
};
type FileRow = { path: string; size_bytes: number; sha256: string };

function toStoredPath(row: FileRow): StoredPath {
  return { path: row.path, sizeBytes: row.size_bytes, sha256: row.sha256 };
}

export async function loadRunTask(db: Db, claim: Claim): Promise<RunTask> {
  const { workspaceId, taskId, brief } = claim;
  if (brief !== undefined)
    return { ...brief, inputs: [], snapshot: undefined, artifacts: [], delegated: [] };
  return db.withWorkspace(workspaceId, async (tx) => {
    const [task] = await tx.query<TaskRow>({
      text: `SELECT agent_id, prompt, upload_id, tool_call_limit,
               floor(wall_time_limit_ms - extract(epoch FROM clock_now() - coalesce(started_at, clock_now())) * 1000)::bigint AS wall_time_left_ms,
               (SELECT (extract(epoch FROM a.started_at - r.queued_at) * 1000)::float8 FROM runs r JOIN attempts a ON a.workspace_id = r.workspace_id AND a.run_id = r.id
                 WHERE r.workspace_id = $1 AND r.id = $3 AND a.epoch = $4) AS start_delay_ms
             FROM tasks WHERE workspace_id = $1 AND id = $2`,
      values: [workspaceId, taskId, claim.runId, claim.epoch],
    });
    invariant(task !== undefined, "a claimed run has its task");
    const agent = await findAgent(tx, task.agent_id);
    invariant(agent !== undefined, "a task has its agent");
    const inputs = await tx.query<FileRow>({
      text: "SELECT path, size_bytes, sha256 FROM upload_files WHERE workspace_id = $1 AND upload_id = $2 ORDER BY path",
      values: [workspaceId, task.upload_id],
    });
    const artifacts = await tx.query<FileRow>({
      text: "SELECT path, size_bytes, sha256 FROM artifacts WHERE workspace_id = $1 AND task_id = $2 ORDER BY path",
      values: [workspaceId, taskId],
    });
    return {
      agent,
      prompt: task.prompt,
      toolCallLimit: task.tool_call_limit,
      wallTimeLeftMs: task.wall_time_left_ms,
      startDelayMs: Math.max(0, task.start_delay_ms ?? 0),
      inputs: inputs.map(toStoredPath),
      snapshot: await findSnapshot(tx, claim.runId),
      artifacts: artifacts.map(toStoredPath),
      delegated: await findDelegatedFiles(tx, taskId),
    };
  });
}

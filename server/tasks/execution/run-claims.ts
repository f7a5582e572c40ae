import type { Agent } from "../../agents/agents.ts";
import { readAgentTime } from "../../ledger/answers.ts";
import type { AgentTimeOutcome } from "../../ledger/calls.ts";
import { plans } from "../../ledger/plans.ts";
import type { Db } from "../../platform/db.ts";
import { formatRunToken, newRunSecret } from "../../platform/run-token.ts";
import { Secret } from "../../platform/secret.ts";
import { storableJson } from "../../platform/storable-json.ts";

/** One attempt: a run that was leased to this worker. `epoch` is its fencing token. */
export type Claim = {
  workspaceId: string;
  runId: string;
  taskId: string;
  epoch: number;
  /** For the gateway; valid exactly as long as the lease. */
  token: Secret;
  /** Whether its task was delegated; undefined is unknown. */
  hasParent?: boolean;
  /** What a worker has to know of the task; absent when there are files to read, or the claim was not asked. */
  brief?: RunBrief;
  /** What became of its first slice of agent time, which was asked for with the claim; absent when it is yet to be. */
  agentTime?: AgentTimeOutcome;
};

/** What a worker must know of a task that has no files yet. */
export type RunBrief = {
  agent: Agent;
  prompt: string;
  toolCallLimit: number;
  /** What is left of the wall-clock limit, milliseconds; not above 0 when it is over. */
  wallTimeLeftMs: number;
  /** From the run's being queued to this attempt's start; milliseconds. */
  startDelayMs: number;
};
type ClaimRow = {
  workspace_id: string;
  run_id: string;
  task_id: string;
  epoch: number;
  token_no: number;
  has_parent: boolean;
  brief: RunBrief | null;
  agent_time: unknown;
};

const weights = JSON.stringify(
  Object.fromEntries(Object.entries(plans).map(([name, plan]) => [name, plan.weight])),
);
/** Workspaces in which one transaction looks whether a run can start. */
const OPEN_AT_MOST = 64;

/**
 * Leases up to `atMost` runs to the worker, queued ones with slots that are free. `agentTimeSliceMs`: what is
 * booked of agent time for each of them in the same transaction.
 */
export async function claimRuns(
  db: Db,
  claim: { workerId: string; leaseMs: number; atMost: number; agentTimeSliceMs?: number },
): Promise<Claim[]> {
  const secrets = Array.from({ length: claim.atMost }, newRunSecret);
  const rows = await db.ledger<ClaimRow>({
    name: "claim",
    text: `SELECT workspace_id, run_id, task_id, epoch, token_no, has_parent, brief, agent_time FROM claim($1, $2 * interval '1 millisecond', $3, $4, $5, $6)`,
    values: [
      claim.workerId,
      claim.leaseMs,
      secrets.map((secret) => secret.hash),
      weights,
      OPEN_AT_MOST,
      claim.agentTimeSliceMs ?? null,
    ],
  });
  return rows.map((row) => {
    const { workspace_id: workspaceId, run_id: runId, task_id: taskId, epoch } = row;
    const secret = secrets[row.token_no - 1]?.secret ?? "";
    const token = new Secret(formatRunToken({ workspaceId, runId, epoch, secret }));
    const { has_parent: hasParent, brief, agent_time: agentTime } = row;
    return {
      workspaceId,
      runId,
      taskId,
      epoch,
      token,
      hasParent,
      ...(brief === null ? {} : { brief }),
      ...(agentTime === null ? {} : { agentTime: readAgentTime(agentTime) }),
    };
  });
}

/**
 * Looks where something changed since the last time, in a bounded number of workspaces. `opened`: how many of them have a run that
 * can be claimed; `mayBeMore`: it looked in as many as it may.
 */
export async function openQueues(db: Db): Promise<{ opened: number; mayBeMore: boolean }> {
  const [row] = await db.ledger<{ looked: number; opened: number }>({
    name: "open_queues",
    text: "SELECT looked, opened FROM open_queues($1)",
    values: [OPEN_AT_MOST],
  });
  return { opened: row?.opened ?? 0, mayBeMore: row?.looked === OPEN_AT_MOST };
}

/** Extends the leases that the worker still holds, all in one statement. -> the ids of those runs */
export async function extendLeases(
  db: Db,
  beat: { workerId: string; leaseMs: number; claims: readonly Claim[] },
): Promise<Set<string>> {
  const held = beat.claims.map(({ workspaceId, runId, epoch }) => ({
    workspace_id: workspaceId,
    run_id: runId,
    epoch,
  }));
  const rows = await db.ledger<{ run_id: string }>({
    name: "heartbeat",
    text: `SELECT run_id FROM heartbeat($1, $2 * interval '1 millisecond', $3)`,
    values: [beat.workerId, beat.leaseMs, JSON.stringify(held)],
  });
  return new Set(rows.map((row) => row.run_id));
}

/** Hands the run over: claimable at once, and not counted as a lost attempt. -> false when it was not held any more */
export async function releaseRun(db: Db, claim: Claim, reason: string): Promise<boolean> {
  const [row] = await db.ledger<{ released: boolean }>({
    text: "SELECT release_run($1, $2, $3, $4) AS released",
    values: [claim.workspaceId, claim.runId, claim.epoch, reason],
  });
  return row?.released ?? false;
}

/** Attempts in a row that may fail before the task does, and the first pause between two of them, which doubles. */
export const retryRule = { attemptsAllowed: 3, backoffMs: 10_000 } as const;

/**
 * Counts the attempt as failed: another one follows after a pause, or the task fails with `attempts_exhausted`.
 * -> false when the attempt is stale, and then nothing was written
 */
export async function retryRun(
  db: Db,
  claim: Claim,
  backoffMs: number = retryRule.backoffMs,
): Promise<boolean> {
  const [row] = await db.withWorkspace(claim.workspaceId, (tx) =>
    tx.query<{ retried: boolean }>({
      text: "SELECT retry_run($1, $2, $3, $4 * interval '1 millisecond') AS retried",
      values: [claim.runId, claim.epoch, retryRule.attemptsAllowed, backoffMs],
    }),
  );
  return row?.retried ?? false;
}

export type TaskEnd =
  | { state: "succeeded"; result: string }
  | { state: "failed"; cause: string; message: string };

/** Ends the task of the run. -> false when the attempt is stale, and then nothing was written */
export async function finishRun(db: Db, claim: Claim, end: TaskEnd): Promise<boolean> {
  const { state, ...data } = end;
  const stored = storableJson(data);
  const [row] = await db.withWorkspace(claim.workspaceId, (tx) =>
    tx.query<{ finished: boolean }>({
      text: `SELECT finish_run($1, $2, $3, $4::jsonb->>'cause', $4::jsonb->>'result', $4::jsonb) AS finished`,
      values: [claim.runId, claim.epoch, state, stored],
    }),
  );
  return row?.finished ?? false;
}

/**
 * The first attempt of the run whose folder is, or will be, of use: what those before it left on a disk may go, for only
 * the holder of the lease works in its folder, and whoever claims the run next gets a higher epoch.
 * -> undefined when the run is over, or was never there
 */
export async function findFirstLiveEpoch(
  db: Db,
  run: { workspaceId: string; runId: string },
): Promise<number | undefined> {
  const [row] = await db.withWorkspace(run.workspaceId, (tx) =>
    tx.query<{ state: string; epoch: number }>({
      text: "SELECT state, epoch FROM runs WHERE workspace_id = $1 AND id = $2",
      values: [run.workspaceId, run.runId],
    }),
  );
  if (row === undefined || row.state === "ended") return undefined;
  return row.state === "claimed" ? row.epoch : row.epoch + 1;
}

import type { Agent } from "../../agents/agents.ts";
import type { Ledger } from "../../ledger/ledger.ts";
import type { Clock } from "../../platform/clock.ts";
import { AppError } from "../../platform/errors.ts";
import { faultPoint } from "../../platform/fault-points.ts";
import type { FileStore } from "../../platform/file-store/file-store.ts";
import type { Logger } from "../../platform/log.ts";
import type { RunOutcome, Runtime } from "../../runtimes/runtime.ts";
import type { ToolRegistry } from "../../tools/tools.ts";
import { createAgentTime, type AgentTime } from "./run-agent-time.ts";
import type { KeptFolder } from "../../tools/run-folder.ts";
import type { Claim } from "./run-claims.ts";
import {
  freshRunFolder,
  removeAttemptFolder,
  removeRunFolders,
  runFolderLimits,
  setUpRunFolder,
} from "./run-folder-setup.ts";
import { createFolderState } from "./run-folder-state.ts";
import type { RunLease } from "./run-lease.ts";
import { isAway, whenReachable } from "./run-fence.ts";
import { createRunRecord } from "./run-record.ts";
import {
  settleOutcome,
  unusedTime,
  type AttemptOutcome,
  type SettlementDeps,
} from "./run-settlement.ts";
import { loadRunTask, type RunTask } from "./run-task.ts";
import { createTeam } from "../team/team.ts";

export type RunExecutionDeps = SettlementDeps & {
  ledger: Pick<Ledger, "leaseAgentTime" | "noteRefusedTime">;
  runtimeFor(agent: Agent): Runtime;
  tools: ToolRegistry;
  files: FileStore;
  /** Absolute; run folders lie below it. */
  dataDir: string;
  /** Base URL of the model gateway. */
  gatewayUrl: string;
  agentTimeSliceMs: number;
  /** Told of each attempt's start, with how long its run had waited. */
  onStart?(start: { taskId: string; delayMs: number }): void;
  clock: Clock;
};

/** One leased run and its standing with the worker. */
export type RunAttempt = {
  claim: Claim;
  /** When the claim was asked for, monotonic milliseconds. */
  claimedAtMs: number;
  lease: RunLease;
  /** True once the worker shuts down. */
  isDraining(): boolean;
  /** The agent does no more in this attempt; what is left is to write how it ended. */
  onExecuted(): void;
};

/** Node's timers count in 32 bits, and a task may have thirty days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Stops the run when the task's wall-clock limit is reached. -> a function that ends the watch */
function watchWallTime(lease: RunLease, leftMs: number): () => void {
  let rest = leftMs;
  let timer: NodeJS.Timeout | undefined;
  function next(): void {
    if (rest <= 0) return lease.stop({ kind: "wall_time" });
    const partMs = Math.min(rest, LONGEST_TIMER_MS);
    rest -= partMs;
    timer = setTimeout(next, partMs);
  }
  next();
  return () => clearTimeout(timer);
}

/** What an attempt leaves on this machine. */
type Traces = { hasFolder: boolean };

async function openFolder(
  deps: RunExecutionDeps,
  { claim, lease }: RunAttempt,
  { task, traces }: { task: RunTask; traces: Traces },
): Promise<KeptFolder> {
  function onMade(): void {
    traces.hasFolder = true;
  }
  if (claim.brief !== undefined) return freshRunFolder(deps.dataDir, claim, onMade);
  onMade();
  return whenReachable(lease, () => setUpRunFolder(deps, { ...claim, task }));
}

/** Executes until the runtime has an outcome. Throws the signal's reason when the run is stopped before. */
async function runToOutcome(
  deps: RunExecutionDeps,
  attempt: RunAttempt,
  { traces, agentTime }: { traces: Traces; agentTime: AgentTime },
): Promise<RunOutcome> {
  const { claim, lease } = attempt;
  const { workspaceId, runId, taskId, epoch } = claim;
  const task = await loadRunTask(deps.db, claim);
  deps.onStart?.({ taskId, delayMs: task.startDelayMs });
  const unwatch = watchWallTime(lease, task.wallTimeLeftMs);
  try {
    lease.signal.throwIfAborted();
    await agentTime.start();
    lease.signal.throwIfAborted();
    const folder = await openFolder(deps, attempt, { task, traces });
    const { maxFileBytes } = runFolderLimits;
    const recorded = task.snapshot ?? [];
    const state = createFolderState({ ...deps, folder, workspaceId, maxFileBytes, recorded });
    await whenReachable(lease, () => state.capture());
    const team = createTeam({ ...deps, folder, claim, lease, agentId: task.agent.id });
    const record = createRunRecord({ ...deps, state, claim, lease });
    try {
      return await deps.runtimeFor(task.agent).run({
        run: { workspaceId, taskId, runId, attempt: epoch },
        agent: task.agent,
        prompt: task.prompt,
        inputFileCount: task.inputs.length,
        toolCallLimit: task.toolCallLimit,
        gateway: { baseUrl: deps.gatewayUrl, token: claim.token },
        tools: deps.tools,
        folder,
        team,
        record,
        signal: lease.signal,
        shouldYield: attempt.isDraining,
        log: deps.log,
      });
    } finally {
      // What was said before the end belongs before the end.
      await record.flush();
      record.close();
    }
  } finally {
    unwatch();
  }
}

/** Whoever goes on with the run makes a folder of its own. */
async function removeTraces(
  { dataDir, log }: RunExecutionDeps,
  { claim }: RunAttempt,
  hasRunEnded: boolean,
): Promise<void> {
  try {
    await (hasRunEnded ? removeRunFolders : removeAttemptFolder)(dataDir, claim);
  } catch (error) {
    // A tool that did not heed its signal may still write there. Workers look for what is left.
    log.warn({ err: error, run_id: claim.runId }, "the folder of a run was not removed");
  }
}

/** What an execution that was stopped, or that broke, means for the run. */
function outcomeOfError(error: unknown, { lease, claim }: RunAttempt, log: Logger): AttemptOutcome {
  const stop = lease.stopped();
  switch (stop?.kind) {
    case "lost":
      return { status: "lost" };
    case "shutdown":
      return { status: "yielded" };
    case "wall_time":
      return {
        status: "failed",
        cause: "time_limit",
        message: "The task reached its limit of wall-clock time.",
      };
    case "agent_time":
      return { status: "parked", state: "paused", reason: stop.reason };
    case undefined:
      // Nothing is written, and the lease runs out: that counts as a failed attempt, so work that always ends here does
      // not go round for ever.
      if (isAway(error)) return { status: "lost" };
      log.error({ err: error, run_id: claim.runId, task_id: claim.taskId }, "a run broke");
      // What was said to be final is; anything else may have been the machine's trouble, and gets another attempt.
      return error instanceof AppError && !error.retryable
        ? { status: "failed", cause: error.code, message: error.publicMessage }
        : { status: "broken" };
  }
}

/**
 * Executes one leased run until it ends, parks, is handed over, or is lost. Never rejects for a fault of the run.
 * -> whether another run may want its slot, or go on by its end
 */
export async function executeRun(deps: RunExecutionDeps, attempt: RunAttempt): Promise<boolean> {
  const { claim, claimedAtMs, lease } = attempt;
  faultPoint("run.claimed");
  // An earlier attempt may have been here, and died.
  const traces: Traces = { hasFolder: claim.epoch > 1 };
  const sliceMs = deps.agentTimeSliceMs;
  const agentTime = createAgentTime({ ...deps, claim, claimedAtMs, lease, sliceMs });
  let outcome: AttemptOutcome;
  try {
    outcome = await runToOutcome(deps, attempt, { traces, agentTime });
  } catch (error) {
    outcome = outcomeOfError(error, attempt, deps.log);
  }
  attempt.onExecuted();
  let hasRunEnded = false;
  try {
    const unused = unusedTime(deps, claim, await agentTime.end());
    faultPoint("run.outcome");
    const { ended, waited } = await settleOutcome(deps, attempt, { outcome, unused });
    hasRunEnded = ended;
    return waited;
  } catch (error) {
    // The lease runs out, and the run goes on from its last step.
    deps.log.error({ err: error, run_id: claim.runId }, "the end of a run was not written");
    return true;
  } finally {
    if (traces.hasFolder) await removeTraces(deps, attempt, hasRunEnded);
    lease.close();
  }
}

import type { CreateTask, Task } from "@guildhall/sdk/contract/task.ts";
import { auditArguments } from "../audit/audit.ts";
import type { WorkspaceTx } from "../platform/db.ts";
import { type AppError, invariant } from "../platform/errors.ts";
import { validationFailed } from "../platform/http-errors.ts";
import { faultPoint } from "../platform/fault-points.ts";
import { newId } from "../platform/ids.ts";
import type { Caller } from "./caller.ts";
import { unknownAgent, unknownUpload } from "./task-errors.ts";
import {
  insertTask,
  unstarted,
  type InsertedTask,
  type NewTask,
  type ParentTask,
} from "./task-insertion.ts";

/** What a task may use unless it is created with other limits. */
export const taskDefaults = {
  costNanoUsd: 500_000_000,
  wallTimeMs: 24 * 3_600_000,
  agentTimeMs: 3_600_000,
  modelCalls: 200,
  toolCalls: 1_000,
} as const;

const TITLE_CHARS = 80;

/** The prompt's first line, cut between words. */
function titleOf(prompt: string): string {
  const line =
    prompt
      .split(/[\r\n]/, 1)[0]
      ?.replace(/\s+/g, " ")
      .trim() ?? "";
  if (line.length <= TITLE_CHARS) return line;
  const cut = line
    .slice(0, TITLE_CHARS)
    .toWellFormed()
    .replace(/\uFFFD$/, "");
  return `${cut.slice(0, cut.lastIndexOf(" ") > TITLE_CHARS / 2 ? cut.lastIndexOf(" ") : undefined)}…`;
}

const YEAR_MS = 365 * 24 * 3_600_000;

/**
 * Who means the past means now; who means a far year has mistyped it. In UTC and not before 1970, for Postgres has
 * neither the year 0 nor all the zones that the format allows.
 */
function startOf(startAfter: string | undefined): string | null {
  if (startAfter === undefined) return null;
  const startMs = Date.parse(startAfter);
  if (startMs > Date.now() + YEAR_MS)
    throw validationFailed([{ field: "start_after", message: "must be within a year from now" }]);
  return new Date(Math.max(0, startMs)).toISOString();
}

async function missing(tx: WorkspaceTx, found: InsertedTask): Promise<AppError> {
  if (found.agent) return unknownUpload();
  const agents = await tx.query<{ id: string }>({
    text: "SELECT id FROM agents WHERE workspace_id = current_workspace() ORDER BY desk, id LIMIT 50",
    values: [],
  });
  return unknownAgent(agents.map((agent) => agent.id));
}

/**
 * Makes a task in the caller's transaction, with its run, stream, first event, outbox row and audit line. Throws
 * `agent_not_found` and `upload_not_found` (422).
 */
export async function createTask(
  tx: WorkspaceTx,
  options: {
    caller: Caller;
    body: CreateTask;
    parent?: ParentTask | null;
    /** The failed task that it does again. */
    replayOf?: string;
  },
): Promise<Task> {
  const { caller, body, parent = null, replayOf = null } = options;
  const made: NewTask = {
    id: newId("task"),
    runId: newId("run"),
    agentId: body.agent,
    title: (body.title ?? titleOf(body.prompt)).toWellFormed(),
    prompt: body.prompt.toWellFormed(),
    uploadId: body.upload_id ?? null,
    parent,
    priority: body.priority ?? 0,
    startAfter: startOf(body.start_after),
    replayOf,
    costLimitNanoUsd: body.limits?.cost_nano_usd ?? taskDefaults.costNanoUsd,
    wallTimeLimitMs: body.limits?.wall_time_ms ?? taskDefaults.wallTimeMs,
    agentTimeLimitMs: body.limits?.agent_time_ms ?? taskDefaults.agentTimeMs,
    modelCallLimit: body.limits?.model_calls ?? taskDefaults.modelCalls,
    toolCallLimit: body.limits?.tool_calls ?? taskDefaults.toolCalls,
    createdBy: caller.actor,
  };
  const task = unstarted(made);
  const audit = auditArguments({
    actor: caller.actor,
    origin: caller.origin,
    action: "task.created",
    target: made.id,
    after: task,
  });
  const [found] = await tx.query<InsertedTask>(insertTask(made, audit));
  invariant(found !== undefined, "whether agent and upload are there is always told");
  if (found.created_at === null) throw await missing(tx, found);
  faultPoint("task.made");
  return { ...task, created_at: found.created_at.toISOString() };
}

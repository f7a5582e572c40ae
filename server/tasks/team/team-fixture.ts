import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, onTestFinished } from "vitest";
import { systemClock } from "../../platform/clock.ts";
import { createLocalFileStore } from "../../platform/file-store/open-file-store.ts";
import { newId } from "../../platform/ids.ts";
import { createLogger } from "../../platform/log.ts";
import { Secret } from "../../platform/secret.ts";
import type { TestDatabase } from "../../test/database.ts";
import {
  claimRun,
  createAgent,
  createClaimedRun,
  createTenant,
  type ClaimedRun,
  type TaskOptions,
  type Tenant,
} from "../../test/tenant.ts";
import { resultOf } from "../../tools/fixture.ts";
import { openRunFolder, type RunFolder } from "../../tools/run-folder.ts";
import { teamTools } from "../../tools/team/team-tools.ts";
import { createToolRegistry, type ToolOutcome, type ToolResult } from "../../tools/tools.ts";
import type { Claim } from "../execution/run-claims.ts";
import { createRunLease, type RunLease } from "../execution/run-lease.ts";
import { createTeam } from "./team.ts";

/** An attempt that executes a run for its agent. `step` numbers its tool calls; the same step is the same call. */
export type Seat = ClaimedRun & {
  claim: Claim;
  lease: RunLease;
  folder: RunFolder;
  call(name: string, input: unknown, step?: number): Promise<ToolOutcome>;
  /** For a call that does not wait. */
  result(name: string, input: unknown, step?: number): Promise<ToolResult>;
  /** For a call that must succeed: its content, parsed as what the tool documents. */
  read<T>(name: string, input: unknown, step?: number): Promise<T>;
};

/**
 * Offices where agents sit at their tasks: each seat is an attempt that holds the lease of a run, with the team's tools
 * as a runtime calls them. Call at top level.
 */
export async function openTeam({ db, admin }: Pick<TestDatabase, "db" | "admin">) {
  const dataDir = await mkdtemp(join(tmpdir(), "guildhall-team-"));
  afterAll(() => rm(dataDir, { recursive: true, force: true }));
  const log = createLogger({ level: "silent" });
  const files = createLocalFileStore({ db, log, filesFolder: join(dataDir, "files") });
  const registry = createToolRegistry(teamTools, {
    onUnexpected: ({ error }) => {
      throw error;
    },
  });

  /** A workspace with the agents of these ids; the first one is the tenant's own. */
  async function openOffice(...agentIds: [string, ...string[]]): Promise<Tenant> {
    const [first, ...others] = agentIds;
    const tenant = await createTenant(admin, { agentId: first });
    for (const agentId of others)
      await createAgent(admin, { workspaceId: tenant.workspaceId, agentId });
    return tenant;
  }

  async function sitDown(run: ClaimedRun, agentId: string): Promise<Seat> {
    const { workspaceId, runId, taskId, epoch } = run;
    const sentAtMs = systemClock.monotonicMs();
    const lease = createRunLease({ clock: systemClock, leaseMs: 600_000, sentAtMs });
    onTestFinished(() => lease.close());
    const claim = { workspaceId, runId, taskId, epoch, token: new Secret(run.token) };
    const root = join(dataDir, "runs", runId);
    const limits = { maxFileBytes: 1_000_000, maxTotalBytes: 2_000_000, maxFiles: 100 };
    const folder = await openRunFolder({ root, limits });
    const team = createTeam({ db, files, folder, claim, lease, agentId });
    function call(name: string, input: unknown, step = 1): Promise<ToolOutcome> {
      const ctx = { folder, signal: lease.signal, idempotencyKey: `${runId}/${step}`, team };
      return registry.execute({ name, input, ctx });
    }
    async function result(name: string, input: unknown, step = 1) {
      return resultOf(await call(name, input, step));
    }
    async function read<T>(name: string, input: unknown, step = 1): Promise<T> {
      const { isError, content } = await result(name, input, step);
      if (isError) throw new Error(content);
      const parsed: T = JSON.parse(content);
      return parsed;
    }
    return { ...run, claim, lease, folder, call, result, read };
  }
  async function startTask(tenant: Tenant, agentId: string, options: TaskOptions = {}) {
    return sitDown(await createClaimedRun(admin, tenant, { agentId, ...options }), agentId);
  }

  /** Goes on with the task that a call delegated, as a worker that claimed it. */
  async function startChild({ workspaceId }: Seat, childTaskId: string): Promise<Seat> {
    const { rows } = await admin.query<{ run_id: string; agent_id: string }>(
      "SELECT r.id AS run_id, t.agent_id FROM runs r JOIN tasks t ON t.id = r.task_id WHERE t.id = $1",
      [childTaskId],
    );
    const { run_id: runId, agent_id: agentId } = rows[0]!;
    return sitDown(await claimRun(admin, { workspaceId, taskId: childTaskId, runId }), agentId);
  }

  async function delegated(seat: Seat, input: object, step = 1): Promise<string> {
    const outcome = await seat.call("delegate_task", input, step);
    if (!("reason" in outcome) || outcome.reason.kind !== "child")
      throw new Error(`not delegated: ${JSON.stringify(outcome)}`);
    return outcome.reason.child_task_id;
  }

  async function endTask(seat: Seat, state: "succeeded" | "failed", result: string | null = null) {
    const cause = state === "failed" ? "call_limit" : null;
    await db.withWorkspace(seat.workspaceId, (tx) =>
      tx.query({
        text: "SELECT end_task($1, $2, $3, $4, $5, '{}')",
        values: [seat.workspaceId, seat.taskId, state, cause, result],
      }),
    );
  }

  async function writeArtifact(seat: Seat, path: string, content: string): Promise<void> {
    const stream = Readable.from([Buffer.from(content)]);
    const { workspaceId, taskId, runId } = seat;
    const stored = await files.put({ workspaceId, stream, maxBytes: 10_000_000 });
    await admin.query(
      "INSERT INTO artifacts (workspace_id, id, task_id, run_id, path, size_bytes, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)",
      [workspaceId, newId("art"), taskId, runId, path, stored.sizeBytes, stored.sha256],
    );
  }

  async function eventData(seat: Seat, type: string): Promise<unknown[]> {
    const { rows } = await admin.query<{ data: unknown }>(
      "SELECT data FROM events WHERE stream_id = $1 AND type = $2 ORDER BY seq",
      [seat.taskId, type],
    );
    return rows.map((row) => row.data);
  }

  async function count(text: string, ...values: unknown[]): Promise<number> {
    const { rows } = await admin.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM ${text}`,
      values,
    );
    return rows[0]!.n;
  }

  return {
    dataDir,
    files,
    registry,
    openOffice,
    startTask,
    startChild,
    delegated,
    endTask,
    writeArtifact,
    eventData,
    count,
  };
}

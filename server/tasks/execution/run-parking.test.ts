import pg from "pg";
import { expect, it, onTestFinished, vi } from "vitest";
import { newId } from "../../platform/ids.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  claimRun,
  createClaimedRun,
  createQueuedRun,
  createTenant,
  type Tenant,
} from "../../test/tenant.ts";
import { claimRuns } from "./run-claims.ts";
import { wakeDueRuns } from "./jobs.ts";

const { db, admin, ownerUrl } = await createTestDatabase();

type Row = Record<string, unknown>;

/** A second connection, to hold a transaction open while another one runs. */
async function connection(): Promise<pg.Client> {
  const name = newId("req");
  const client = new pg.Client({ connectionString: ownerUrl, application_name: name });
  await client.connect();
  names.set(client, name);
  onTestFinished(() => client.end());
  return client;
}

const names = new Map<pg.Client, string>();
const nameOf = (client: pg.Client): string => names.get(client) ?? "";

async function begin(client: pg.Client, tenant: Tenant): Promise<void> {
  await client.query("BEGIN");
  await client.query("SELECT set_config('app.workspace_id', $1, true)", [tenant.workspaceId]);
}

/** Waits until the work is done, or waits itself for a lock of another transaction. */
async function doneOrBlocked(work: Promise<unknown>, client: pg.Client): Promise<void> {
  let done = false;
  void work.then(() => (done = true));
  await vi.waitFor(
    async () => {
      const { rowCount } = await admin.query(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'",
        [nameOf(client)],
      );
      expect(done || rowCount === 1).toBe(true);
    },
    { timeout: 10_000, interval: 5 },
  );
}

async function askQuestion(tenant: Tenant, taskId: string): Promise<string> {
  const id = newId("qst");
  await admin.query(
    "INSERT INTO questions (workspace_id, id, task_id, question, idempotency_key) VALUES ($1, $2, $3, 'Sure?', $2)",
    [tenant.workspaceId, id, taskId],
  );
  return id;
}

const PARK = "SELECT park_run($1, $2, 'waiting', $3, NULL, 'task.waiting') AS parked";
const ANSWER =
  "UPDATE questions SET answer = 'yes', answered_by = 'test', answered_at = clock_now() WHERE id = $1";

async function runState(runId: string): Promise<Row> {
  const { rows } = await admin.query<Row>("SELECT state, slot_no FROM runs WHERE id = $1", [runId]);
  return rows[0] ?? {};
}

it("an answer that comes before the run has parked wakes it", async () => {
  const tenant = await createTenant(admin);
  const run = await createClaimedRun(admin, tenant);
  const questionId = await askQuestion(tenant, run.taskId);
  await admin.query(ANSWER, [questionId]);
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: PARK,
      values: [
        run.runId,
        run.epoch,
        JSON.stringify({ kind: "question", question_id: questionId, question: "Sure?" }),
      ],
    }),
  );
  expect(await runState(run.runId)).toEqual({ state: "queued", slot_no: null });
});

it.each(["the park commits first", "the answer commits first"])(
  "an answer that crosses with the park is never lost: %s",
  async (order) => {
    const tenant = await createTenant(admin);
    const run = await createClaimedRun(admin, tenant);
    const questionId = await askQuestion(tenant, run.taskId);
    const reason = JSON.stringify({ kind: "question", question_id: questionId, question: "Sure?" });
    const [parking, answering] = [await connection(), await connection()];
    await begin(parking, tenant);
    await begin(answering, tenant);
    const park = () => parking.query(PARK, [run.runId, run.epoch, reason]);
    const answer = async () => {
      await answering.query(ANSWER, [questionId]);
      await answering.query("SELECT wake_run($1, $2)", [tenant.workspaceId, run.taskId]);
    };
    if (order === "the park commits first") {
      await park();
      const answered = answer();
      await doneOrBlocked(answered, answering);
      await parking.query("COMMIT");
      await answered;
      await answering.query("COMMIT");
    } else {
      await answer();
      const parked = park();
      await doneOrBlocked(parked, parking);
      await answering.query("COMMIT");
      await parked;
      await parking.query("COMMIT");
    }
    expect(await runState(run.runId)).toEqual({ state: "queued", slot_no: null });
  },
);

it("a parent that waits hands its slot to its child, and gets it back when the child ends", async () => {
  const tenant = await createTenant(admin, { concurrentTasks: 1 });
  const parent = await createClaimedRun(admin, tenant);
  const child = await createQueuedRun(admin, tenant, { parentTaskId: parent.taskId });
  const others = await claimRuns(db, { workerId: "wrk_test", leaseMs: 600_000, atMost: 50 });
  expect(others.map((claim) => claim.runId)).not.toContain(child.runId);
  expect(await runState(child.runId)).toEqual({ state: "queued", slot_no: null });
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: PARK,
      values: [
        parent.runId,
        parent.epoch,
        JSON.stringify({ kind: "child", child_task_id: child.taskId }),
      ],
    }),
  );
  expect(await runState(child.runId)).toEqual({ state: "admitted", slot_no: 1 });
  const claimed = await claimRun(admin, { ...tenant, ...child });
  const [ended] = await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query<{ ended: boolean }>({
      text: "SELECT finish_run($1, $2, 'succeeded', NULL, 'done', '{\"result\":\"done\"}') AS ended",
      values: [child.runId, claimed.epoch],
    }),
  );
  expect(ended).toEqual({ ended: true });
  expect(await runState(parent.runId)).toEqual({ state: "admitted", slot_no: 1 });
});

it.each(["the park commits first", "the child's end commits first"])(
  "a child that ends while its parent parks for it wakes the parent: %s",
  async (order) => {
    const tenant = await createTenant(admin);
    const parent = await createClaimedRun(admin, tenant);
    const child = await createClaimedRun(admin, tenant, { parentTaskId: parent.taskId });
    const [parking, ending] = [await connection(), await connection()];
    await begin(parking, tenant);
    await begin(ending, tenant);
    const park = () =>
      parking.query(PARK, [
        parent.runId,
        parent.epoch,
        JSON.stringify({ kind: "child", child_task_id: child.taskId }),
      ]);
    const end = () =>
      ending.query(
        'SELECT finish_run($1, $2, \'failed\', \'x\', NULL, \'{"cause":"x","message":"x"}\')',
        [child.runId, child.epoch],
      );
    const [first, second, firstClient, secondClient] =
      order === "the park commits first"
        ? [park, end, parking, ending]
        : [end, park, ending, parking];
    await first();
    const waits = second();
    await doneOrBlocked(waits, secondClient);
    await firstClient.query("COMMIT");
    await waits;
    await secondClient.query("COMMIT");
    expect((await runState(parent.runId))["state"]).toMatch(/^(queued|admitted)$/);
  },
);

it("a parent that ends takes its open children with it, at every depth, while they end by themselves", async () => {
  const tenant = await createTenant(admin);
  const parent = await createClaimedRun(admin, tenant);
  const child = await createClaimedRun(admin, tenant, { parentTaskId: parent.taskId });
  const grandchild = await createClaimedRun(admin, tenant, { parentTaskId: child.taskId });
  const finish = (run: { runId: string; epoch: number }) =>
    db.withWorkspace(tenant.workspaceId, (tx) =>
      tx.query({
        text: "SELECT finish_run($1, $2, 'succeeded', NULL, 'r', '{\"result\":\"r\"}')",
        values: [run.runId, run.epoch],
      }),
    );
  await Promise.all([finish(grandchild), finish(parent), finish(child)]);
  const { rows } = await admin.query<Row>(
    `SELECT t.ended_at IS NOT NULL AS ended, r.state, s.closed, (SELECT count(*) FROM events e WHERE e.stream_id = t.id AND e.type IN ('task.succeeded', 'task.cancelled'))::int AS ends
     FROM tasks t JOIN runs r ON r.task_id = t.id JOIN streams s ON s.id = t.id WHERE t.workspace_id = $1`,
    [tenant.workspaceId],
  );
  expect(rows).toEqual(
    Array.from({ length: 3 }, () => ({ ended: true, state: "ended", closed: true, ends: 1 })),
  );
});

it("a run that parked with a time is woken when it has come, and not before", async () => {
  const tenant = await createTenant(admin);
  const run = await createClaimedRun(admin, tenant);
  const reason = {
    kind: "limit",
    meter: "model_cost",
    level: "workspace",
    scope_id: tenant.workspaceId,
    limit: 1,
    posted: 1,
    held: 0,
    needed: 1,
  };
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: "SELECT park_run($1, $2, 'paused', $3, clock_now() + interval '1 hour', 'task.paused')",
      values: [run.runId, run.epoch, JSON.stringify(reason)],
    }),
  );
  expect(await wakeDueRuns(db)).toBe(0);
  await admin.query("UPDATE runs SET wake_at = clock_now() WHERE id = $1", [run.runId]);
  expect(await wakeDueRuns(db)).toBe(1);
  expect(await runState(run.runId)).toEqual({ state: "queued", slot_no: null });
});

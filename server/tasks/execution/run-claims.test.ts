import pg from "pg";
import { beforeEach, expect, it } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { createQueuedRun, createTenant } from "../../test/tenant.ts";
import { claimRuns, finishRun, openQueues, releaseRun, type Claim } from "./run-claims.ts";
import { loadRunTask } from "./run-task.ts";

const { db, admin, ownerUrl } = await createTestDatabase();

beforeEach(async () => {
  await admin.query(
    "SELECT end_task(workspace_id, task_id, 'cancelled', NULL, NULL, '{}') FROM runs WHERE state <> 'ended'",
  );
});

/** A workspace of its own with so many runs that can be claimed. -> its id */
async function withReady(count: number): Promise<string> {
  const tenant = await createTenant(admin);
  for (let n = 0; n < count; n++) await createQueuedRun(admin, tenant);
  await openQueues(db);
  return tenant.workspaceId;
}

function claim(atMost: number): Promise<Claim[]> {
  return claimRuns(db, { workerId: "wrk_fair", leaseMs: 600_000, atMost });
}

it.each(["go on", "end at once"])(
  "a workspace that comes anew waits for one run of each other workspace at most, also when claimed runs %s",
  async (how) => {
    const workspaces = 20;
    for (let n = 0; n < workspaces; n++) await withReady(10);

    /** Claims one run. -> its workspace */
    async function next(): Promise<string> {
      const [one] = await claim(1);
      if (how === "end at once") await finishRun(db, one!, { state: "succeeded", result: "" });
      return one!.workspaceId;
    }
    // The first round is half over when the newcomer's task comes behind all the others.
    for (let n = 0; n < workspaces / 2; n++) await next();
    const newcomer = await withReady(1);
    const order: string[] = [];
    for (let n = 0; n <= workspaces; n++) order.push(await next());
    expect(order).toContain(newcomer);
    expect(new Set(order).size).toBe(workspaces + 1);
  },
);

it("one claim takes the oldest run of each workspace, then the second oldest of each", async () => {
  const [a, b, c] = [await withReady(3), await withReady(2), await withReady(1)];
  const claimed = await claim(10);
  expect(claimed.map((one) => one.workspaceId)).toEqual([a, b, c, a, b, a]);
  const { rows } = await admin.query<{ id: string }>(
    "SELECT id FROM runs WHERE workspace_id = $1 ORDER BY queued_at",
    [a],
  );
  const ofFirst = claimed.filter((one) => one.workspaceId === a);
  expect(ofFirst.map((one) => one.runId)).toEqual(rows.map((row) => row.id));
});

it.each([0, 1, 2, 8, 150])(
  "a claim takes one run after the other, also by the plans that the database makes when it knows of %i runs",
  async (known) => {
    await admin.query("TRUNCATE runs CASCADE");
    const tenant = await createTenant(admin);
    const queue = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n++) await createQueuedRun(admin, tenant);
    };
    await queue(known);
    await admin.query("ANALYZE runs");
    await queue(8);
    const claimed = await claim(known + 9);
    expect(new Set(claimed.map((one) => one.runId)).size).toBe(known + 8);
  },
);

it("of claims at the same time none takes what another one takes, and none goes without while something is left", async () => {
  await withReady(8);
  const other = new pg.Client({ connectionString: ownerUrl });
  await other.connect();
  try {
    await other.query("BEGIN");
    const taken = await other.query<{ run_id: string }>(
      "SELECT run_id FROM claim('wrk_other', interval '10 minutes', ARRAY['1', '2', '3', '4', '5'], '{}', 64, NULL)",
    );
    expect(taken.rowCount).toBe(5);
    const claiming = claim(5);
    await expect
      .poll(async () => {
        const { rows } = await admin.query<{ waiting: boolean }>(
          "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) OR NOT granted AND locktype = 'transactionid') AS waiting",
        );
        return rows[0]?.waiting;
      })
      .toBe(true);
    await other.query("COMMIT");
    const claimed = await claiming;
    expect(claimed).toHaveLength(3);
    const all = [...claimed.map((one) => one.runId), ...taken.rows.map((row) => row.run_id)];
    expect(new Set(all).size).toBe(8);
  } finally {
    await other.end();
  }
});

it("a claim tells all there is to know of a run's first attempt without files, and of others nothing", async () => {
  const tenant = await createTenant(admin);
  const prompt = "Say \u{1F600} and no more.";
  const plain = await createQueuedRun(admin, tenant, { prompt, toolCallLimit: 7 });
  const withFiles = await createQueuedRun(admin, tenant);
  await admin.query("INSERT INTO uploads VALUES ($1, 'upl_1', 'user:test')", [tenant.workspaceId]);
  await admin.query("UPDATE tasks SET upload_id = 'upl_1' WHERE id = $1", [withFiles.taskId]);
  const claims = new Map((await claim(2)).map((one) => [one.taskId, one]));
  expect(claims.get(withFiles.taskId)?.brief).toBeUndefined();
  const first = claims.get(plain.taskId)!;
  const { brief, ...unread } = first;
  const read = await loadRunTask(db, unread);
  const { wallTimeLeftMs, startDelayMs, ...told } = await loadRunTask(db, first);
  expect(told).toEqual({
    ...told,
    agent: read.agent,
    prompt,
    toolCallLimit: 7,
    inputs: read.inputs,
    snapshot: read.snapshot,
    artifacts: read.artifacts,
    delegated: read.delegated,
  });
  expect(brief).toMatchObject({ wallTimeLeftMs, startDelayMs });
  expect(wallTimeLeftMs).toBe(86_400_000);
  expect(startDelayMs).toBeCloseTo(read.startDelayMs, 0);
  await releaseRun(db, first, "test");
  expect((await claim(1)).map((one) => [one.runId, one.epoch, one.brief])).toEqual([
    [plain.runId, 2, undefined],
  ]);
});

const booking = (atMost: number, agentTimeSliceMs: number) =>
  claimRuns(db, { workerId: "wrk_time", leaseMs: 600_000, atMost, agentTimeSliceMs });

async function slicesOf(claims: readonly Claim[]): Promise<object[]> {
  const { rows } = await admin.query<object>(
    "SELECT run_id, epoch, granted_ms::int AS ms FROM time_slices WHERE run_id = ANY($1) ORDER BY run_id, slice_no",
    [claims.map((one) => one.runId)],
  );
  return rows;
}

it("a claim books the first slice of agent time of each run, of a later attempt too, and as much as its task may have", async () => {
  const tenant = await createTenant(admin);
  const [small, large] = [
    await createQueuedRun(admin, tenant, { agentTimeLimitMs: 4_000 }),
    await createQueuedRun(admin, tenant),
  ];
  const claims = await booking(5, 3_000);
  expect(claims.map((one) => [one.runId, one.agentTime])).toEqual(
    [small, large].map(({ runId }) => [runId, { status: "granted", ms: 3_000 }]),
  );
  for (const one of claims) await releaseRun(db, one, "test");
  const again = await booking(5, 3_000);
  expect(again.map((one) => [one.runId, one.agentTime])).toEqual([
    [small.runId, { status: "granted", ms: 1_000 }],
    [large.runId, { status: "granted", ms: 3_000 }],
  ]);
  expect(await slicesOf(again)).toEqual([
    { run_id: small.runId, epoch: 1, ms: 3_000 },
    { run_id: small.runId, epoch: 2, ms: 1_000 },
    { run_id: large.runId, epoch: 1, ms: 3_000 },
    { run_id: large.runId, epoch: 2, ms: 3_000 },
  ]);
  for (const one of again) await releaseRun(db, one, "test");
  expect((await booking(1, 3_000))[0]?.agentTime).toMatchObject({
    status: "exhausted",
    level: "task",
    posted: 4_000,
    limit: 4_000,
  });
});

it("a claimed run of a suspended workspace has no agent time, and others beside it have theirs", async () => {
  const stopped = await createTenant(admin);
  const going = await createTenant(admin);
  const runs = [await createQueuedRun(admin, stopped), await createQueuedRun(admin, going)];
  await admin.query("UPDATE workspaces SET suspended = 'operator' WHERE workspace_id = $1", [
    stopped.workspaceId,
  ]);
  const claims = new Map((await booking(5, 3_000)).map((one) => [one.runId, one.agentTime]));
  expect(claims.get(runs[0]!.runId)).toEqual({ status: "suspended", reason: "operator" });
  expect(claims.get(runs[1]!.runId)).toEqual({ status: "granted", ms: 3_000 });
});

it("a booking that breaks keeps no run from being claimed: its worker asks for itself", async () => {
  const tenant = await createTenant(admin);
  for (let n = 0; n < 2; n++) await createQueuedRun(admin, tenant);
  const claims = await booking(5, 86_400_001);
  expect(claims.map((one) => one.agentTime)).toEqual([undefined, undefined]);
  expect(await slicesOf(claims)).toEqual([]);
});

import { expect, it } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { brokenLaws, eventsOf } from "../../test/run-stage.ts";
import { createQueuedRun, createTenant, type Tenant } from "../../test/tenant.ts";
import { claimRuns, openQueues, type Claim } from "./run-claims.ts";
import { createRunEnds, type UnusedTime } from "./run-ends.ts";

const database = await createTestDatabase();
const { db, admin } = database;
const ends = createRunEnds(db);

/** Claims all that wait. -> by their tasks */
async function claimAll(): Promise<Map<string, Claim>> {
  const claims = await claimRuns(db, { workerId: "wrk_ends", leaseMs: 600_000, atMost: 50 });
  return new Map(claims.map((claim) => [claim.taskId, claim]));
}

const nothing: UnusedTime = { ms: 0, giveBack: () => Promise.resolve() };
async function endOf(claim: Claim): Promise<boolean> {
  const { ended } = await ends.finish(claim, { state: "succeeded", result: claim.taskId }, nothing);
  return ended;
}

async function stateOf(taskId: string): Promise<object> {
  const { rows } = await admin.query<object>(
    `SELECT t.state, t.cause, t.result, r.state AS run, r.slot_no, s.closed, a.end_reason,
       t.ended_at = r.ended_at AND a.ended_at = r.ended_at AS at_once,
       (SELECT count(*)::int FROM outbox o WHERE o.topic = 'slot.free' AND o.payload->>'task_id' = t.id) AS told
     FROM tasks t JOIN runs r ON r.task_id = t.id JOIN streams s ON s.id = t.id JOIN attempts a ON a.run_id = r.id AND a.epoch = r.epoch WHERE t.id = $1`,
    [taskId],
  );
  return rows[0] ?? {};
}

it("runs of several workspaces that end at once each end whole: task, run, attempt, slot, last event and the word of it", async () => {
  for (const tenant of [await createTenant(admin), await createTenant(admin)])
    for (let n = 0; n < 3; n++) await createQueuedRun(admin, tenant);
  const [first, ...others] = (await claimAll()).values();
  const failed = { state: "failed", cause: "agent_error", message: "It is \u0000 over." } as const;
  const [failure, ...answers] = await Promise.all([
    ends.finish(first!, failed, nothing),
    ...others.map(endOf),
  ]);
  expect(failure).toEqual({ ended: true, waited: false });
  expect(answers).toEqual(Array.from({ length: 5 }, () => true));
  const over = { run: "ended", slot_no: null, closed: true, at_once: true, told: 0 };
  expect(await stateOf(first!.taskId)).toEqual({
    ...over,
    state: "failed",
    cause: "agent_error",
    result: null,
    end_reason: "failed",
  });
  for (const { taskId } of others)
    expect(await stateOf(taskId)).toEqual({
      ...over,
      state: "succeeded",
      cause: null,
      result: taskId,
      end_reason: "succeeded",
    });
  const events = await eventsOf(database, first!.taskId);
  expect(events.map(({ seq, type }) => [seq, type])).toEqual([
    [1, "task.created"],
    [2, "run.claimed"],
    [3, "task.failed"],
  ]);
  expect(events.at(-1)?.data).toEqual({ cause: "agent_error", message: "It is \uFFFD over." });
  expect(await brokenLaws(database)).toEqual([]);
});

it("a stale attempt among those that end at once changes nothing, and does not keep the others from it", async () => {
  const tenant = await createTenant(admin);
  for (let n = 0; n < 4; n++) await createQueuedRun(admin, tenant);
  const [late, taken, ended, good] = [...(await claimAll()).values()] as [
    Claim,
    Claim,
    Claim,
    Claim,
  ];
  await admin.query("UPDATE runs SET lease_until = clock_now() WHERE id = $1", [late.runId]);
  const before = { ...taken, epoch: taken.epoch - 1 };
  await endOf(ended);
  const answers = await Promise.all([late, before, ended, good].map(endOf));
  expect(answers).toEqual([false, false, false, true]);
  expect(await stateOf(late.taskId)).toMatchObject({ state: "running", run: "claimed", told: 0 });
  expect(await stateOf(taken.taskId)).toMatchObject({ state: "running", run: "claimed", told: 0 });
  expect(await stateOf(ended.taskId)).toMatchObject({ state: "succeeded", told: 0 });
  expect(await stateOf(good.taskId)).toMatchObject({ state: "succeeded", told: 0 });
});

it("a task with open children takes them with it, and a child wakes the parent that waits for it, also among others", async () => {
  const tenant = await createTenant(admin);
  const lonely = await createQueuedRun(admin, tenant);
  const parent = await createQueuedRun(admin, tenant);
  const claims = await claimAll();
  const { taskId: parentTaskId } = parent;
  const child = await createQueuedRun(admin, tenant, { parentTaskId });
  const both = [claims.get(lonely.taskId)!, claims.get(parentTaskId)!].map(endOf);
  expect(await Promise.all(both)).toEqual([true, true]);
  const { rows } = await admin.query("SELECT state, cause FROM tasks WHERE id = $1", [
    child.taskId,
  ]);
  expect(rows).toEqual([{ state: "cancelled", cause: "parent_ended" }]);

  const waiting = await createQueuedRun(admin, tenant);
  const waits = (await claimAll()).get(waiting.taskId)!;
  const delegated = await createQueuedRun(admin, tenant, { parentTaskId: waiting.taskId });
  const another = await createQueuedRun(admin, tenant);
  await admin.query(`SELECT set_config('app.workspace_id', $1, false)`, [tenant.workspaceId]);
  await admin.query("SELECT park_run($1, $2, 'waiting', $3, NULL, 'task.waiting')", [
    waits.runId,
    waits.epoch,
    JSON.stringify({ kind: "child", child_task_id: delegated.taskId }),
  ]);
  const claimed = await claimAll();
  const ending = [claimed.get(delegated.taskId)!, claimed.get(another.taskId)!];
  expect(ending.map((claim) => claim.hasParent)).toEqual([true, false]);
  expect(await Promise.all(ending.map(endOf))).toEqual([true, true]);
  const { rows: woken } = await admin.query("SELECT state FROM runs WHERE id = $1", [waits.runId]);
  expect(woken).toEqual([{ state: "admitted" }]);
  await openQueues(db);
  expect(await brokenLaws(database)).toEqual([]);
});

/** Claims the waiting runs of the workspace, each with so much agent time. */
async function claimWithTime({ workspaceId }: Tenant, agentTimeSliceMs: number): Promise<Claim[]> {
  const claim = { workerId: "wrk_ends", leaseMs: 600_000, atMost: 50, agentTimeSliceMs };
  return (await claimRuns(db, claim)).filter((one) => one.workspaceId === workspaceId);
}

function unused(ms: number): UnusedTime & { asked: number } {
  const time = {
    ms,
    asked: 0,
    giveBack() {
      time.asked += 1;
      return Promise.resolve();
    },
  };
  return time;
}

const timeOf = async (level: string, scopeId: string): Promise<number | undefined> => {
  const { rows } = await admin.query<{ posted: number }>(
    "SELECT posted::int AS posted FROM budgets WHERE meter = 'agent_time' AND level = $1 AND scope_id = $2",
    [level, scopeId],
  );
  return rows[0]?.posted;
};

it("runs that end give back the agent time that they did not use, at each level, in the same transaction", async () => {
  const tenant = await createTenant(admin);
  for (let n = 0; n < 3; n++) await createQueuedRun(admin, tenant);
  const claims = await claimWithTime(tenant, 5_000);
  const times = [unused(4_000), unused(0), unused(5_000)];
  const ended = claims.map((claim, n) =>
    ends.finish(claim, { state: "succeeded", result: "" }, times[n]!),
  );
  const answer = { ended: true, waited: false };
  expect(await Promise.all(ended)).toEqual([answer, answer, answer]);
  expect(times.map((time) => time.asked)).toEqual([0, 0, 0]);
  const kept = await Promise.all(claims.map((claim) => timeOf("task", claim.taskId)));
  expect(kept).toEqual([1_000, 5_000, 0]);
  expect(await timeOf("workspace", tenant.workspaceId)).toBe(6_000);
  // Who asks again, for the answer was lost, gets nothing twice.
  const again = await ends.finish(claims[0]!, { state: "succeeded", result: "" }, times[0]!);
  expect(again.ended).toBe(false);
  expect(await timeOf("workspace", tenant.workspaceId)).toBe(6_000);
  expect(await brokenLaws(database)).toEqual([]);
});

it("who ends tells that others wait for the slot, where they do", async () => {
  const full = await createTenant(admin, { concurrentTasks: 1 });
  const free = await createTenant(admin);
  for (const tenant of [full, full, free]) await createQueuedRun(admin, tenant);
  const claims = [...(await claimAll()).values()];
  const [taken, other] = [full, free].map(({ workspaceId }) =>
    claims.find((claim) => claim.workspaceId === workspaceId)!,
  );
  const end = { state: "succeeded", result: "" } as const;
  const answers = await Promise.all([taken!, other!].map((one) => ends.finish(one, end, nothing)));
  expect(answers).toEqual([
    { ended: true, waited: true },
    { ended: true, waited: false },
  ]);
  expect(await stateOf(taken!.taskId)).toMatchObject({ told: 1 });
  expect(await stateOf(other!.taskId)).toMatchObject({ told: 0 });
});

it("a run with open children gives its time back by itself, once, before it ends", async () => {
  const tenant = await createTenant(admin);
  const parent = await createQueuedRun(admin, tenant);
  const [claim] = await claimWithTime(tenant, 5_000);
  await createQueuedRun(admin, tenant, { parentTaskId: parent.taskId });
  const time = unused(4_000);
  const end = await ends.finish(claim!, { state: "succeeded", result: "" }, time);
  expect(end).toEqual({ ended: true, waited: true });
  expect(time.asked).toBe(1);
  expect(await timeOf("workspace", tenant.workspaceId)).toBe(5_000);
});

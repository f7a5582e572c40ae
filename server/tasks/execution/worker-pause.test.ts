import { limitStopSchema, type LimitLevel } from "@guildhall/sdk/contract/limit.ts";
import { parkedSchema } from "@guildhall/sdk/contract/task.ts";
import { afterEach, beforeEach, expect, it } from "vitest";
import { request } from "../../ledger/fixture.ts";
import { expectProblem, startTestApi } from "../../test/api.ts";
import {
  brokenLaws,
  eventsOf,
  eventually,
  giveTask,
  openStage,
  salesCsv,
  startJobs,
  startWorker,
  taskReaches,
  type Stage,
} from "../../test/run-stage.ts";
import { createClaimedRun, limitTop, type Tenant } from "../../test/tenant.ts";
import { seedAgents } from "../../agents/agents.ts";

const api = await startTestApi();
const { db, admin } = api;
const prompt = "Profile these CSV files and write report.md";
const inputs = { "sales.csv": salesCsv };
/** Enough for the first calls of the task, and not for all. */
const TIGHT = 30_000_000;
const RAISED = 1_000_000_000;
const THIRTY_DAYS_MS = 30 * 24 * 3_600_000;

/** Sets the database's clock; from there it goes on as always. */
async function setClock(iso: string | undefined): Promise<void> {
  const offset =
    iso === undefined
      ? "interval '0'"
      : `(timestamptz '${iso}' - timestamptz '${new Date().toISOString()}')`;
  await admin.query(
    `CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$SELECT clock_timestamp() + ${offset}$$`,
  );
}

beforeEach(() => setClock(undefined));
// Whatever a test has done to runs and limits, the laws hold in the database.
afterEach(async () => {
  expect(await brokenLaws(api)).toEqual([]);
});

type Caller = Tenant & { key: string };

async function open(options: Parameters<typeof api.caller>[0] = {}): Promise<Caller> {
  const tenant = await api.caller({ ...options, agentId: "tester" });
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    seedAgents(tx, { workspaceId: tenant.workspaceId, model: "claude-sonnet-5-5" }),
  );
  return tenant;
}

async function put(caller: Caller, json: object): Promise<void> {
  const response = await api.send("PUT", "/v1/limits", { key: caller.key, json });
  expect({ status: response.status, text: await response.text() }).toMatchObject({ status: 200 });
}

/** The reason in full, as a client gets it. */
async function stopOf(taskId: string) {
  const { parked } = await taskReaches(api, taskId, "paused", "failed", "succeeded");
  return limitStopSchema.strict().parse(parked);
}

/** One billed call of the provider for each answer that was stored: nothing was paid for again. */
async function expectPaidOnce(stage: Stage, runId: string): Promise<void> {
  const steps = await admin.query("SELECT 1 FROM steps WHERE run_id = $1 AND kind = 'model'", [
    runId,
  ]);
  expect(steps.rowCount).toBeGreaterThan(1);
  expect(stage.simulator.meter.report().totals.billed_calls).toBe(steps.rowCount);
}

async function expectParked(runId: string): Promise<void> {
  const { rows } = await admin.query("SELECT state, slot_no, lease_until FROM runs WHERE id = $1", [
    runId,
  ]);
  expect(rows).toEqual([{ state: "parked", slot_no: null, lease_until: null }]);
}

type Levelled = { level: LimitLevel; scopeId: string };

async function setAmount(
  caller: Caller,
  { level, scopeId }: Levelled,
  change: { meter: "model_cost" | "agent_time"; amount: number | null },
): Promise<void> {
  if (level === "owner" || level === "platform")
    await limitTop(admin, { level, scopeId, ...change });
  else
    await put(caller, {
      level,
      ...(level === "workspace" ? {} : { scope_id: scopeId }),
      ...change,
    });
}

const scopeOf = (caller: Caller, level: LimitLevel, taskId: string): string =>
  ({
    run: "",
    key: "",
    task: taskId,
    agent: "gray",
    workspace: caller.workspaceId,
    owner: caller.billingAccountId,
    platform: "platform",
  })[level];

const levels = [
  { level: "task", name: "Test task", raisedBy: ["owner", "admin"], turns: null },
  { level: "agent", name: /Sutton/, raisedBy: ["owner", "admin"], turns: "month" },
  { level: "workspace", name: "Test workspace", raisedBy: ["owner", "admin"], turns: "month" },
  { level: "owner", name: null, raisedBy: ["payer"], turns: "month" },
  { level: "platform", name: null, raisedBy: ["operator"], turns: "day" },
] as const;
const cases = levels.flatMap((each) =>
  (["model_cost", "agent_time"] as const).map((meter) => ({ ...each, meter })),
);

it.each(cases)(
  "at the $level limit of $meter a run pauses with the whole reason, and goes on by itself when it is raised, paid for once",
  async ({ level, name, raisedBy, turns, meter }) => {
    const stage = await openStage(api);
    const caller = await open();
    const { taskId, runId } = await giveTask(api, { stage, tenant: caller, prompt, inputs });
    const scopeId = scopeOf(caller, level, taskId);
    const shared = level === "owner" || level === "platform";
    const tight = meter === "model_cost" ? TIGHT : 1;
    await setAmount(caller, { level, scopeId }, { meter, amount: tight });
    startJobs(stage);
    startWorker(stage);
    const stop = await stopOf(taskId);
    expect(stop).toMatchObject({
      status: "exhausted",
      meter,
      level,
      scope_id: scopeId,
      limit: shared ? null : tight,
      left: shared ? null : tight - stop.posted,
      held: 0,
      raised_by: raisedBy,
    });
    expect(stop.scope_name).toEqual(name instanceof RegExp ? expect.stringMatching(name) : name);
    expect(stop.needed).toBeGreaterThan(stop.left ?? 0);
    const { rows } = await admin.query<{ month: Date; day: Date }>(
      `SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '1 month' AS month,
         date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '1 day' AS day`,
    );
    expect(stop.resets_at).toBe(turns === null ? null : rows[0]![turns].toISOString());
    await expectParked(runId);

    await setAmount(
      caller,
      { level, scopeId },
      { meter, amount: meter === "model_cost" ? RAISED : 60_000 },
    );
    expect((await taskReaches(api, taskId, "succeeded", "failed")).state).toBe("succeeded");
    await expectPaidOnce(stage, runId);
    const paused = (await eventsOf(api, taskId)).filter((event) => event.type === "task.paused");
    expect(paused.map((event) => event.data)).toEqual([stop]);
    await setAmount(caller, { level, scopeId }, { meter, amount: shared ? null : RAISED });
  },
);

it.each([
  ["model_calls", { modelCallLimit: 2 }],
  ["tool_calls", { toolCallLimit: 1 }],
] as const)(
  "a task that has made its %s pauses, and goes on at the same step when it may make more",
  async (meter, options) => {
    const stage = await openStage(api);
    const caller = await open();
    const { taskId, runId } = await giveTask(api, {
      stage,
      tenant: caller,
      prompt,
      inputs,
      ...options,
    });
    const limit = Object.values(options)[0]!;
    startJobs(stage);
    startWorker(stage);
    expect(await stopOf(taskId)).toMatchObject({
      status: "exhausted",
      meter,
      level: "task",
      scope_id: taskId,
      limit,
      posted: limit,
      left: 0,
      needed: 1,
      resets_at: null,
      raised_by: ["owner", "admin"],
    });
    await expectParked(runId);
    const callsBefore = stage.simulator.meter.report().totals.calls;
    await put(caller, { level: "task", scope_id: taskId, meter, amount: 100 });
    expect((await taskReaches(api, taskId, "succeeded", "failed")).state).toBe("succeeded");
    expect(stage.simulator.meter.report().totals.calls).toBeGreaterThan(callsBefore);
    await expectPaidOnce(stage, runId);
  },
);

it("money that open calls hold is told apart from money that is spent: the run goes on by itself when it returns", async () => {
  const stage = await openStage(api, { budgetWaitMs: 50 });
  const caller = await open({ costLimitNanoUsd: RAISED });
  const other = await createClaimedRun(admin, caller, { costLimitNanoUsd: RAISED });
  const held = request(other, {
    inputNanoUsd: RAISED - 1_000,
    outputNanoUsdPerToken: 1,
    maxTokens: 1,
  });
  expect(await stage.ledger.reserve(held)).toMatchObject({ status: "held" });
  const { taskId, runId } = await giveTask(api, { stage, tenant: caller, prompt, inputs });
  startJobs(stage);
  startWorker(stage);
  expect(await stopOf(taskId)).toMatchObject({
    status: "reserved",
    level: "workspace",
    limit: RAISED,
    posted: 0,
    held: RAISED - 999,
    left: 999,
  });
  await stage.ledger.settle({
    workspaceId: caller.workspaceId,
    holdId: held.holdId,
    outcome: "settled",
    actualNanoUsd: 5,
  });
  expect((await taskReaches(api, taskId, "succeeded", "failed")).state).toBe("succeeded");
  await expectPaidOnce(stage, runId);
});

it("a model without a price pauses the run with a reason of its own; another model lets it go on", async () => {
  const stage = await openStage(api);
  const caller = await open();
  const setModel = (model: string) =>
    admin.query("UPDATE agents SET model = $2 WHERE workspace_id = $1 AND id = 'gray'", [
      caller.workspaceId,
      model,
    ]);
  await setModel("claude-of-tomorrow");
  const { taskId, runId } = await giveTask(api, { stage, tenant: caller, prompt, inputs });
  startJobs(stage);
  startWorker(stage);
  const { parked } = await taskReaches(api, taskId, "paused", "failed");
  expect(parkedSchema.parse(parked)).toEqual({
    kind: "unpriced",
    model: "claude-of-tomorrow",
    raised_by: ["operator"],
  });
  await expectParked(runId);
  expect(stage.simulator.meter.report().totals.calls).toBe(0);
  await setModel("claude-sonnet-5-5");
  expect((await taskReaches(api, taskId, "succeeded", "failed")).state).toBe("succeeded");
  await expectPaidOnce(stage, runId);
});

it("a suspended workspace pauses its runs with its own reason, and they go on by themselves when that is lifted", async () => {
  const stage = await openStage(api);
  const caller = await open();
  const suspend = (reason: string | null) =>
    admin.query("UPDATE workspaces SET suspended = $2 WHERE workspace_id = $1", [
      caller.workspaceId,
      reason,
    ]);
  await suspend("margin_guard");
  const { taskId, runId } = await giveTask(api, { stage, tenant: caller, prompt, inputs });
  startJobs(stage);
  startWorker(stage);
  const { parked } = await taskReaches(api, taskId, "paused", "failed");
  expect(parkedSchema.parse(parked)).toEqual({
    kind: "suspended",
    reason: "margin_guard",
    raised_by: ["operator"],
  });
  await expectParked(runId);
  expect(stage.simulator.meter.report().totals.calls).toBe(0);
  await suspend(null);
  expect((await taskReaches(api, taskId, "succeeded", "failed")).state).toBe("succeeded");
  await expectPaidOnce(stage, runId);
});

it.each([
  { level: "workspace", before: "2027-11-30T23:59:45Z", turn: "2027-12-01T00:00:00.000Z" },
  { level: "workspace", before: "2027-12-31T23:59:45Z", turn: "2028-01-01T00:00:00.000Z" },
  { level: "agent", before: "2028-02-29T23:59:45Z", turn: "2028-03-01T00:00:00.000Z" },
  { level: "platform", before: "2032-02-28T23:59:45Z", turn: "2032-02-29T00:00:00.000Z" },
] as const)(
  "a run that the $level limit paused goes on when the period turns at $turn, and no period is spent beyond its limit",
  async ({ level, before, turn }) => {
    await setClock(before);
    const stage = await openStage(api);
    const caller = await open();
    const { taskId, runId } = await giveTask(api, {
      stage,
      tenant: caller,
      prompt,
      inputs,
      wallTimeLimitMs: THIRTY_DAYS_MS,
    });
    const scopeId = scopeOf(caller, level, taskId);
    await setAmount(caller, { level, scopeId }, { meter: "model_cost", amount: RAISED });
    // Another run of the same agent has left no more than TIGHT of this period.
    const other = await createClaimedRun(admin, caller, {
      agentId: "gray",
      costLimitNanoUsd: RAISED,
    });
    const spent = request(other, {
      inputNanoUsd: RAISED - TIGHT - 1,
      outputNanoUsdPerToken: 1,
      maxTokens: 1,
    });
    expect(await stage.ledger.reserve(spent)).toMatchObject({ status: "held" });
    await stage.ledger.settle({
      workspaceId: caller.workspaceId,
      holdId: spent.holdId,
      outcome: "settled",
      actualNanoUsd: RAISED - TIGHT,
    });
    startJobs(stage);
    startWorker(stage);
    expect(await stopOf(taskId)).toMatchObject({ level, resets_at: turn });
    await expectParked(runId);
    await setClock(turn);
    expect((await taskReaches(api, taskId, "succeeded", "failed")).state).toBe("succeeded");
    await expectPaidOnce(stage, runId);
    const periods = await admin.query<{ period: string; posted: number }>(
      "SELECT period, posted::int AS posted FROM budgets WHERE workspace_id = $1 AND meter = 'model_cost' AND level = $2 ORDER BY period",
      [caller.workspaceId, level],
    );
    expect(periods.rows.map((row) => row.period)).toEqual([
      before.slice(0, level === "platform" ? 10 : 7),
      turn.slice(0, level === "platform" ? 10 : 7),
    ]);
    for (const { posted } of periods.rows) expect(posted).toBeLessThanOrEqual(RAISED);
    if (level === "platform")
      await setAmount(caller, { level, scopeId }, { meter: "model_cost", amount: null });
  },
);

/** Waits until the run has a call that the provider is answering. */
function callIsOpen(runId: string): Promise<void> {
  return eventually(async () => {
    const { rowCount } = await admin.query(
      "SELECT 1 FROM holds WHERE run_id = $1 AND state = 'DISPATCHED'",
      [runId],
    );
    expect(rowCount).toBe(1);
  });
}

it.each([
  ["2027-11-30T23:59:45Z", "2027-12-01T00:00:01Z"],
  ["2028-02-29T23:59:45Z", "2028-03-01T00:00:01Z"],
])(
  "a call that is open when the month turns from %s is booked where it was admitted, and the next ones in the new month",
  async (before, after) => {
    await setClock(before);
    const stage = await openStage(api, {
      faults: [{ kind: "stall", ms: 1_500, before_event: 2, times: 1 }],
    });
    const caller = await open({ costLimitNanoUsd: RAISED });
    const { taskId, runId } = await giveTask(api, { stage, tenant: caller, prompt, inputs });
    startJobs(stage);
    startWorker(stage);
    await callIsOpen(runId);
    await setClock(after);
    expect((await taskReaches(api, taskId, "succeeded", "failed")).state).toBe("succeeded");
    await expectPaidOnce(stage, runId);
    const holds = await admin.query<{
      held: string;
      settled: string;
      posted: number;
      booked: string;
    }>(
      `SELECT to_char(h.held_at AT TIME ZONE 'UTC', 'YYYY-MM') AS held, to_char(h.settled_at AT TIME ZONE 'UTC', 'YYYY-MM') AS settled,
         h.posted::int AS posted, b.period AS booked FROM holds h
       JOIN ledger_lines l ON l.workspace_id = h.workspace_id AND l.hold_id = h.id
       JOIN budgets b ON b.workspace_id = h.workspace_id AND b.id = ANY (l.budget_ids) AND b.level = 'workspace' WHERE h.run_id = $1 ORDER BY h.call_no`,
      [runId],
    );
    const [first, ...others] = holds.rows;
    expect(first).toMatchObject({
      held: before.slice(0, 7),
      settled: after.slice(0, 7),
      booked: before.slice(0, 7),
    });
    expect(new Set(others.map((hold) => hold.booked))).toEqual(new Set([after.slice(0, 7)]));
  },
);

it("a limit that is lowered below what is spent and held in the middle of a call honours the call, then pauses the run; raising it lets it go on", async () => {
  const stage = await openStage(api, {
    faults: [{ kind: "stall", ms: 1_500, before_event: 2, times: 1, match: { nth: 2 } }],
  });
  const caller = await open({ costLimitNanoUsd: RAISED });
  const { taskId, runId } = await giveTask(api, { stage, tenant: caller, prompt, inputs });
  startJobs(stage);
  startWorker(stage);
  await eventually(async () => {
    const { rowCount } = await admin.query(
      "SELECT 1 FROM holds WHERE run_id = $1 AND state = 'DISPATCHED' AND call_no = 2",
      [runId],
    );
    expect(rowCount).toBe(1);
  });
  await put(caller, { level: "workspace", meter: "model_cost", amount: 1 });
  const stop = await stopOf(taskId);
  expect(stop).toMatchObject({
    status: "exhausted",
    level: "workspace",
    limit: 1,
    held: 0,
    left: 0,
  });
  const held = await admin.query("SELECT state FROM holds WHERE run_id = $1 ORDER BY call_no", [
    runId,
  ]);
  expect(held.rows).toEqual([{ state: "SETTLED" }, { state: "SETTLED" }]);
  expect(stop.posted).toBe(stage.simulator.meter.report().totals.cost_nano_usd);
  await put(caller, { level: "workspace", meter: "model_cost", amount: RAISED });
  expect((await taskReaches(api, taskId, "succeeded", "failed")).state).toBe("succeeded");
  await expectPaidOnce(stage, runId);
});

it("calls have limits of tasks only, and not beyond what a task can be created with", async () => {
  const caller = await open();
  const set = (json: object) => api.send("PUT", "/v1/limits", { key: caller.key, json });
  await expectProblem(
    await set({ level: "workspace", meter: "model_calls", amount: 5 }),
    422,
    "limit_not_supported",
  );
  const problem = await expectProblem(
    await set({ level: "task", scope_id: "task_1", meter: "model_calls", amount: 10_001 }),
    400,
    "validation_failed",
  );
  expect(problem.errors?.map((error) => error.field)).toEqual(["amount"]);
});

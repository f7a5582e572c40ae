import { afterEach, expect, it } from "vitest";
import { PRICE_VERSION } from "../gateway/request/prices.ts";
import { request } from "../ledger/fixture.ts";
import { createLedger } from "../ledger/ledger.ts";
import { recordRefusal } from "../ledger/refusals.ts";
import { createTestDatabase } from "../test/database.ts";
import {
  claimRun,
  type ClaimedRun,
  createClaimedRun,
  createContent,
  createQueuedRun,
  createTenant,
  limitTop,
  type Tenant,
} from "../test/tenant.ts";
import type { Law } from "./rules.ts";
import { verify } from "./verify.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_verify" });

/** A database in which everything has happened that the laws speak about. */
type Scene = {
  tenant: Tenant;
  working: ClaimedRun;
  resumed: ClaimedRun;
  ended: ClaimedRun;
  parked: ClaimedRun;
};
/** Counts that cost so much by the prices of Haiku. */
const usageOf = (costNanoUsd: number) => ({
  input_tokens: Math.floor((costNanoUsd % 500) / 100),
  output_tokens: Math.floor(costNanoUsd / 500),
  cache_read_input_tokens: (costNanoUsd % 100) / 10,
});

/** A call of a process that ended before it sent it. */
async function loseACall(run: ClaimedRun): Promise<void> {
  const lost = createLedger({ db, processId: "wrk_lost" });
  const ask = request(run, { priceVersion: PRICE_VERSION });
  await lost.reserve(ask);
  const { workspaceId } = run;
  await lost.settle({ workspaceId, holdId: ask.holdId, outcome: "provisional" });
  await ledger.processEnded("wrk_lost");
  await admin.query(`UPDATE ended_processes SET ended_at = ended_at - interval '1 second'`);
  const outcome = await ledger.reconcile({
    workspaceId,
    holdId: ask.holdId,
    chargedNanoUsd: 0,
    proof: { kind: "report", finalBeforeMs: Date.now() },
  });
  expect(outcome).toMatchObject({ status: "done", postedNanoUsd: 0 });
}

/** A call for which there is no money, and one for which there will be when another has ended. */
async function refuseCalls(run: ClaimedRun): Promise<void> {
  const refuse = async (inputNanoUsd: number, waitedMs: number): Promise<void> => {
    const ask = request(run, { inputNanoUsd });
    const refusal = await ledger.reserve(ask);
    if (refusal.status !== "reserved" && refusal.status !== "exhausted")
      throw new Error(`not refused: ${JSON.stringify(refusal)}`);
    await recordRefusal(db, { request: ask, refusal, waitedMs, waitMs: 30_000 });
  };
  await refuse(200_000, 3);
  const open = request(run, { inputNanoUsd: 80_000, dispatch: false });
  await ledger.reserve(open);
  await refuse(89_000, 30_000);
  await ledger.settle({ workspaceId: run.workspaceId, holdId: open.holdId, outcome: "void" });
}

async function setScene(): Promise<Scene> {
  const tenant = await createTenant(admin, { costLimitNanoUsd: 100_000, concurrentTasks: 9 });
  const { workspaceId, billingAccountId } = tenant;
  await limitTop(admin, {
    level: "owner",
    scopeId: billingAccountId,
    meter: "model_cost",
    amount: 900_000,
  });
  await createQueuedRun(admin, tenant);
  const working = await createClaimedRun(admin, tenant);
  const first = await createClaimedRun(admin, tenant, { parentTaskId: working.taskId });
  const ended = await createClaimedRun(admin, tenant);
  const parked = await createClaimedRun(admin, tenant);
  await ledger.processSeen("gateway");

  const settle = async (run: ClaimedRun, outcome: "settled" | "provisional", actualNanoUsd = 0) => {
    // Haiku: 100 nano-USD per token of input, 10 read from the cache, 500 per token of output.
    const ask = request(run, {
      model: "claude-haiku-5-5",
      priceVersion: PRICE_VERSION,
      outputNanoUsdPerToken: 500,
    });
    await ledger.reserve(ask);
    const usage = usageOf(actualNanoUsd);
    const journal = { requestHash: `hash of ${ask.holdId}`, body: Buffer.from("an answer") };
    await ledger.settle({
      workspaceId,
      holdId: ask.holdId,
      outcome,
      actualNanoUsd,
      usage,
      ...(outcome === "settled" ? { journal } : {}),
    });
    return ask.holdId;
  };
  await settle(first, "settled", 120);
  await settle(first, "settled", 5_600);
  await settle(working, "provisional");
  const lowered = await settle(working, "provisional");
  await ledger.settle({
    workspaceId,
    holdId: lowered,
    outcome: "settled",
    actualNanoUsd: 110,
    usage: usageOf(110),
  });
  await loseACall(working);
  await refuseCalls(working);
  await ledger.reserve(request(working));
  const voided = request(working, { dispatch: false });
  await ledger.reserve(voided);
  await ledger.settle({ workspaceId, holdId: voided.holdId, outcome: "void" });
  await ledger.leaseAgentTime({ ...first, bookingNo: 1, sliceMs: 15_000 });
  await ledger.returnAgentTime({ ...first, unusedMs: 4_000 });

  for (const stepNo of [1, 2, 3])
    await admin.query(
      `INSERT INTO steps (workspace_id, run_id, step_no, epoch, kind, state, body, ended_at) VALUES ($1, $2, $3, 1, $4, 'done', $5, clock_now())`,
      [
        workspaceId,
        first.runId,
        stepNo,
        stepNo === 2 ? "tool" : "model",
        { tool_use_id: `toolu_${stepNo}` },
      ],
    );
  const resumed = await claimRun(admin, first);
  await settle(resumed, "settled", 100);
  const sha256 = await createContent(admin, tenant, 50);
  const file = { path: "report.md", sha256, size_bytes: 50, mode: 0o644 };
  await db.withWorkspace(workspaceId, (tx) =>
    tx.query({
      text: "SELECT record_snapshot($1, $2, 3, $3, '{}'), reserve_contents($4, NULL)",
      values: [
        resumed.runId,
        resumed.epoch,
        JSON.stringify([file]),
        JSON.stringify([{ sha256: "f".repeat(64), size_bytes: 7 }]),
      ],
    }),
  );
  await admin.query(
    `INSERT INTO questions (workspace_id, id, task_id, question, idempotency_key) VALUES ($1, 'qst_1', $2, 'Which?', 'k')`,
    [workspaceId, parked.taskId],
  );
  const reason = { kind: "question", question_id: "qst_1", question: "Which?" };
  await db.withWorkspace(workspaceId, (tx) =>
    tx.query({
      text: "SELECT park_run($1, 1, 'waiting', $2, NULL, 'task.waiting')",
      values: [parked.runId, JSON.stringify(reason)],
    }),
  );
  await db.withWorkspace(workspaceId, (tx) =>
    tx.query({
      text: "SELECT end_task($1, $2, 'succeeded', NULL, 'done', '{}')",
      values: [workspaceId, ended.taskId],
    }),
  );
  return { tenant, working, resumed, ended, parked };
}

const scene = await setScene();

const { rows: tables } = await admin.query<{ name: string }>(
  `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`,
);
const names = tables.map((table) => table.name);
await admin.query(
  `CREATE SCHEMA saved; ${names.map((name) => `CREATE TABLE saved.${name} AS TABLE ${name}`).join(";")}`,
);
// Past foreign keys, as a lost page or a wrong restore would be.
await admin.query("SET session_replication_role = replica");

afterEach(async () => {
  const restore = (name: string) =>
    `DELETE FROM ${name}; INSERT INTO ${name} OVERRIDING SYSTEM VALUE TABLE saved.${name}`;
  await admin.query(
    `REVOKE UPDATE ON ledger_lines FROM guildhall_app; ${names.map(restore).join(";")}`,
  );
});

it("a database in which all went well keeps every law", async () => {
  const results = await verify(db);
  expect(results.flatMap((result) => result.violations)).toEqual([]);
  expect(results.map((result) => [result.law, result.ok, result.checked > 0])).toEqual(
    ["I1", "I2", "I3", "I4", "I5", "I6", "I8", "I10"].map((law) => [law, true, true]),
  );
});

it("a hold that is still open breaks no law, unless quiet is claimed", async () => {
  const results = await verify(db, { quiet: true });
  expect(results.filter((result) => !result.ok).map((result) => result.law)).toEqual(["I3"]);
  expect(results.flatMap((result) => result.violations)).toMatchObject([
    { rule: "after quiet nothing is held", state: "DISPATCHED", run_id: scene.working.runId },
  ]);
});

/** One wrong byte each: what is done to the database, and which rule sees it. `$ws` and the runs' names are filled in. */
const corruptions: readonly [law: Law, rule: string, sql: string][] = [
  [
    "I1",
    "exactly one open run",
    `DELETE FROM runs WHERE id = (SELECT r.id FROM runs r WHERE r.state = 'queued')`,
  ],
  [
    "I1",
    "no open run",
    `UPDATE runs SET state = 'queued', ended_at = NULL WHERE id = '$ended.run'`,
  ],
  ["I1", "agree on who is working", `UPDATE tasks SET state = 'queued' WHERE id = '$working.task'`],
  ["I1", "no slot is free", `DELETE FROM slot_changes; UPDATE run_queues SET ready = false`],
  [
    "I1",
    "in the queue of its workspace",
    `UPDATE runs SET state = 'admitted', slot_no = 9 WHERE state = 'queued'; UPDATE run_queues SET ready = false`,
  ],
  ["I1", "a run has its task", `UPDATE runs SET task_id = 'task_gone' WHERE id = '$ended.run'`],
  [
    "I1",
    "an attempt its run",
    `UPDATE attempts SET run_id = 'run_gone' WHERE run_id = '$ended.run'`,
  ],
  [
    "I1",
    "an event its stream",
    `UPDATE events SET stream_id = 'task_gone' WHERE stream_id = '$ended.task' AND seq = 1`,
  ],
  [
    "I1",
    "open attempt of its epoch",
    `UPDATE attempts SET ended_at = clock_now() WHERE run_id = '$working.run'`,
  ],
  [
    "I1",
    "still can wake it",
    `UPDATE questions SET answer = 'this', answered_at = clock_now() WHERE task_id = '$parked.task'`,
  ],
  [
    "I1",
    "still can wake it",
    `UPDATE tasks SET parked = '{"kind":"child","child_task_id":"$ended.task"}' WHERE id = '$parked.task'`,
  ],
  [
    "I1",
    "still can wake it",
    `UPDATE tasks SET parked = '{"kind":"limit","meter":"model_cost"}' WHERE id = '$parked.task'`,
  ],
  [
    "I1",
    "still can wake it",
    `UPDATE tasks SET parked = '{"kind":"other"}' WHERE id = '$parked.task'; UPDATE runs SET wake_at = NULL WHERE id = '$parked.run'`,
  ],
  [
    "I4",
    "a shape that the ledger can give",
    `UPDATE holds SET dispatched_at = NULL WHERE state = 'SETTLED'`,
  ],
  [
    "I4",
    "a shape that the ledger can give",
    `UPDATE holds SET epoch = NULL WHERE run_id IS NOT NULL`,
  ],
  [
    "I4",
    "a shape that the ledger can give",
    `UPDATE ledger_lines SET slice_no = 1 WHERE hold_id IS NOT NULL`,
  ],
  [
    "I4",
    "a shape that the ledger can give",
    `UPDATE budgets SET level = 'nobody' WHERE level = 'agent'`,
  ],
  [
    "I2",
    "the number of its last call",
    `UPDATE budgets SET calls = calls + 1 WHERE level = 'run' AND scope_id = '$working.run' AND meter = 'model_cost'`,
  ],
  [
    "I2",
    "one terminal event",
    `DELETE FROM events WHERE stream_id = '$ended.task' AND type = 'task.succeeded'`,
  ],
  [
    "I2",
    "one terminal event",
    `UPDATE events SET type = 'task.failed' WHERE stream_id = '$ended.task' AND type = 'task.succeeded'`,
  ],
  ["I2", "one terminal event", `UPDATE streams SET closed = true WHERE id = '$working.task'`],
  [
    "I2",
    "numbered from 1 without a gap",
    `DELETE FROM steps WHERE run_id = '$resumed.run' AND step_no = 2`,
  ],
  [
    "I2",
    "one step of its run",
    `UPDATE steps SET kind = 'tool', body = '{"tool_use_id":"toolu_2"}' WHERE run_id = '$resumed.run' AND step_no = 3`,
  ],
  [
    "I2",
    "at most one open attempt",
    `UPDATE attempts SET ended_at = NULL WHERE run_id = '$resumed.run' AND epoch = 1`,
  ],
  [
    "I2",
    "booked once, at its levels",
    `INSERT INTO ledger_lines (workspace_id, meter, kind, amount, budget_ids, hold_id, run_id) SELECT workspace_id, meter, 'provisional', 0, budget_ids, hold_id, run_id FROM ledger_lines WHERE kind = 'settle'`,
  ],
  [
    "I2",
    "booked once, at its levels",
    `UPDATE ledger_lines SET budget_ids = trim_array(budget_ids, 1) WHERE kind = 'settle'`,
  ],
  [
    "I2",
    "booked once, at its levels",
    `UPDATE holds SET posted = posted + 1 WHERE state = 'SETTLED' AND posted < amount`,
  ],
  ["I3", "fitted at every level", `UPDATE holds SET seen_limits[2] = 150 WHERE state = 'SETTLED'`],
  ["I3", "fitted at every level", `UPDATE time_slices SET seen_limits[1] = 14999`],
  [
    "I3",
    "all levels of its spender",
    `UPDATE holds SET budget_ids = trim_array(budget_ids, 1) WHERE state = 'VOID'`,
  ],
  [
    "I3",
    "all levels of its spender",
    `UPDATE holds SET budget_ids = budget_ids[2:] || budget_ids[1] WHERE state = 'VOID'`,
  ],
  [
    "I3",
    "all levels of its spender",
    `UPDATE time_slices SET seen_posted = trim_array(seen_posted, 1)`,
  ],
  [
    "I3",
    "holds what its open holds hold",
    `UPDATE budgets SET held = held + 1 WHERE level = 'workspace'`,
  ],
  [
    "I3",
    "holds what its open holds hold",
    `UPDATE holds SET state = 'VOID', dispatched_at = NULL WHERE state = 'DISPATCHED'`,
  ],
  ["I3", "handed out what its workspaces have", `UPDATE top_budgets SET granted = granted - 1`],
  [
    "I3",
    "than the workspace was ever allowed",
    `UPDATE limits SET amount = 1 WHERE meter = 'concurrent_tasks'`,
  ],
  [
    "I4",
    "sum to its balance",
    `UPDATE budgets SET posted = posted + 1 WHERE level = 'agent' AND meter = 'model_cost'`,
  ],
  ["I4", "sum to its balance", `DELETE FROM ledger_lines WHERE kind = 'overrun'`],
  ["I4", "sum to its balance", `DELETE FROM budgets WHERE level = 'overrun'`],
  ["I1", "has its content", `DELETE FROM file_contents`],
  ["I4", "the stored contents", `UPDATE workspace_storage SET used_bytes = used_bytes + 1`],
  ["I4", "the stored contents", `DELETE FROM pending_contents`],
  ["I4", "the stored contents", `DELETE FROM workspace_storage`],
  ["I6", "written by an attempt of its run", `UPDATE run_snapshots SET epoch = 7`],
  ["I6", "after a later one had", `UPDATE run_snapshots SET epoch = 1, taken_at = clock_now()`],
  ["I4", "less what was returned", `UPDATE time_slices SET returned_ms = returned_ms + 1`],
  ["I4", "change or delete", `GRANT UPDATE (amount) ON ledger_lines TO guildhall_app`],
  ["I5", "charged in full", `UPDATE holds SET posted = posted - 1 WHERE state = 'PROVISIONAL'`],
  ["I5", "never raised", `UPDATE ledger_lines SET amount = 1 WHERE kind = 'lowered'`],
  [
    "I5",
    "a full charge does not cover",
    `UPDATE holds SET overrun = 1 WHERE state = 'SETTLED' AND posted < amount`,
  ],
  ["I5", "never voided", `UPDATE holds SET dispatched_at = clock_now() WHERE state = 'VOID'`],
  [
    "I5",
    "makes of the reported usage",
    `UPDATE holds SET usage = '{"output_tokens":1000}' WHERE state = 'SETTLED'`,
  ],
  [
    "I5",
    "makes of the reported usage",
    `UPDATE holds SET usage = jsonb_set(usage, '{input_tokens}', '0') WHERE posted = 100`,
  ],
  [
    "I5",
    "covers the longest answer",
    `UPDATE holds SET max_tokens = 11 WHERE state = 'SETTLED' AND model LIKE 'claude%'`,
  ],
  [
    "I2",
    "kept once",
    `INSERT INTO journal SELECT workspace_id, run_id, request_hash, use_no + 1, hold_id, body, taken_epoch, created_at FROM journal LIMIT 1`,
  ],
  [
    "I2",
    "kept once",
    `UPDATE journal SET hold_id = (SELECT min(id) FROM holds WHERE state = 'VOID')`,
  ],
  [
    "I3",
    "limit that was in force",
    `INSERT INTO limits (workspace_id, meter, level, scope_id, version, amount, changed_by, changed_at) SELECT workspace_id, 'model_cost', 'workspace', workspace_id, 2, 5, 'somebody', clock_now() - interval '1 hour' FROM workspaces`,
  ],
  [
    "I3",
    "limit that was in force",
    `UPDATE limits SET amount = 7 WHERE meter = 'model_cost' AND level = 'workspace'`,
  ],
  [
    "I3",
    "highest limit that its admissions saw",
    `UPDATE budgets SET posted = 100001 WHERE level = 'workspace' AND meter = 'model_cost'`,
  ],
  ["I10", "told apart", `UPDATE refusals SET status = 'reserved' WHERE status = 'exhausted'`],
  ["I10", "told apart", `UPDATE refusals SET status = 'exhausted' WHERE status = 'reserved'`],
  ["I10", "nothing is refused that fits", `UPDATE refusals SET limit_amount = 1000000`],
  [
    "I10",
    "no room for the smallest form",
    `UPDATE refusals SET found_posted = 0, found_limit = limit_amount, at = at + interval '1 hour', needed = limit_amount WHERE status = 'exhausted'`,
  ],
  ["I10", "as small as it can be", `UPDATE refusals SET min_tokens = 2 WHERE status = 'exhausted'`],
  [
    "I10",
    "waits for open holds",
    `UPDATE refusals SET waited_ms = 29000 WHERE status = 'reserved'`,
  ],
  [
    "I6",
    "written by an attempt of its run",
    `UPDATE holds SET epoch = 7 WHERE run_id = '$working.run'`,
  ],
  [
    "I6",
    "after a later one had",
    `UPDATE holds SET held_at = clock_now() WHERE run_id = '$resumed.run' AND epoch = 1`,
  ],
  [
    "I6",
    "after a later one had",
    `UPDATE time_slices SET granted_at = clock_now() - interval '1 hour'`,
  ],
  [
    "I6",
    "wrote after its end",
    `UPDATE attempts SET ended_at = started_at - interval '1 hour' WHERE run_id = '$resumed.run' AND epoch = 1`,
  ],
  [
    "I6",
    "epochs never fall",
    `UPDATE steps SET epoch = 2 WHERE run_id = '$resumed.run' AND step_no = 2`,
  ],
  [
    "I6",
    "each claim that is told of",
    `UPDATE events SET data = jsonb_set(data, '{attempt}', '1') WHERE type = 'run.claimed' AND stream_id = '$resumed.task'`,
  ],
  ["I8", "without a gap", `DELETE FROM events WHERE stream_id = '$working.task' AND seq = 1`],
  ["I8", "without a gap", `UPDATE streams SET last_seq = last_seq + 1 WHERE id = '$working.task'`],
  [
    "I8",
    "every task has its stream",
    `DELETE FROM events WHERE stream_id = '$working.task'; DELETE FROM streams WHERE id = '$working.task'`,
  ],
];

it.each(corruptions)("%s is seen to be broken when not: %s", async (law, rule, sql) => {
  const filled = sql.replace(/\$(working|resumed|ended|parked)\.(run|task)/g, (_, name, kind) => {
    const run = scene[name as Exclude<keyof Scene, "tenant">];
    return kind === "run" ? run.runId : run.taskId;
  });
  await admin.query(filled);
  const broken = (await verify(db)).flatMap((result) =>
    result.violations.map((violation) => [result.law, violation.rule]),
  );
  expect(broken).toContainEqual([law, expect.stringContaining(rule)]);
});

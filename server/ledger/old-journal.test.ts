import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { createClaimedRun, createTenant } from "../test/tenant.ts";
import { request } from "./fixture.ts";
import { createLedger } from "./ledger.ts";
import { forgetOldJournal } from "./old-journal.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: "wrk_journal" });
await ledger.processSeen("gateway");

/** A run with one stored answer, ended so long ago; null: it goes on. */
async function runThatEnded(ago: string | null): Promise<string> {
  const run = await createClaimedRun(admin, await createTenant(admin));
  const ask = request(run);
  await ledger.reserve(ask);
  await ledger.settle({
    workspaceId: run.workspaceId,
    holdId: ask.holdId,
    outcome: "settled",
    actualNanoUsd: 1,
    journal: { requestHash: "a", body: Buffer.from("answer") },
  });
  if (ago !== null) {
    await admin.query(`SELECT end_task($1, $2, 'cancelled', 'test', NULL, '{}')`, [
      run.workspaceId,
      run.taskId,
    ]);
    for (const [table, column, id] of [
      ["runs", "ended_at", "id"],
      ["journal", "created_at", "run_id"],
    ])
      await admin.query(
        `UPDATE ${table} SET ${column} = clock_now() - $2::interval WHERE ${id} = $1`,
        [run.runId, ago],
      );
  }
  return run.runId;
}

async function answersOf(runId: string): Promise<number> {
  const { rows } = await admin.query<{ count: string }>(
    "SELECT count(*) FROM journal WHERE run_id = $1",
    [runId],
  );
  return Number(rows[0]?.count);
}

it("answers are forgotten three days after their run ended, not before and not while it goes on", async () => {
  const old = await runThatEnded("73 hours");
  const recent = await runThatEnded("71 hours");
  const going = await runThatEnded(null);
  await admin.query(
    "UPDATE journal SET created_at = created_at - interval '30 days' WHERE run_id = $1",
    [going],
  );
  expect(await forgetOldJournal(db)).toBe(1);
  expect(await answersOf(old)).toBe(0);
  expect(await answersOf(recent)).toBe(1);
  expect(await answersOf(going)).toBe(1);
  expect(await forgetOldJournal(db)).toBe(0);
});

it("a backlog of more than a round took once is forgotten in parts, and the parts add up to all of it", async () => {
  const runId = await runThatEnded("4 days");
  await admin.query(
    `INSERT INTO journal (workspace_id, run_id, request_hash, use_no, hold_id, body, taken_epoch, created_at)
     SELECT workspace_id, run_id, request_hash, n, hold_id, body, taken_epoch, created_at FROM journal, generate_series(2, 10500) n WHERE run_id = $1`,
    [runId],
  );
  expect(await forgetOldJournal(db)).toBe(10_500);
  expect(await answersOf(runId)).toBe(0);
});

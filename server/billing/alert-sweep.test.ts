import { beforeEach, expect, it } from "vitest";
import { request } from "../ledger/fixture.ts";
import { createLedger } from "../ledger/ledger.ts";
import { createLogger } from "../platform/log.ts";
import { installClock, passTime } from "../test/clock.ts";
import { createTestDatabase } from "../test/database.ts";
import { type ClaimedRun, createClaimedRun, createTenant, limitTop } from "../test/tenant.ts";
import { createAlertJob } from "./alert-job.ts";

const { db, admin } = await createTestDatabase();
await installClock(admin);
const log = createLogger({ level: "silent" });
const ledger = createLedger({ db, processId: "wrk_test" });
const look = createAlertJob({ db, log, storageQuotaBytes: null });
const DAY_MS = 86_400_000;
const platform = { level: "platform", scopeId: "platform", meter: "model_cost" } as const;

beforeEach(async () => {
  await admin.query("UPDATE test_clock SET now = date_trunc('day', now) + interval '36 hours'");
});

async function hold(run: ClaimedRun): Promise<{ workspaceId: string; holdId: string }> {
  const { holdId, ...ask } = request(run);
  expect(await ledger.reserve({ ...ask, holdId })).toMatchObject({ status: "held" });
  return { workspaceId: run.workspaceId, holdId };
}

const charge = (call: { workspaceId: string; holdId: string }, actualNanoUsd: number) =>
  ledger.settle({ ...call, outcome: "settled", actualNanoUsd });

async function topAlerts(): Promise<string[]> {
  const { rows } = await admin.query<{ text: string }>(
    "SELECT limit_version || ' ' || kind || ' ' || percent AS text FROM top_alerts ORDER BY at, percent",
  );
  return rows.map(({ text }) => text);
}

it("what is charged when the platform's day has turned is told of, once, also when the limit changes then", async () => {
  await limitTop(admin, { ...platform, amount: 200 });
  const run = await createClaimedRun(admin, await createTenant(admin), { leaseMs: 10 * DAY_MS });
  await passTime(admin, DAY_MS / 2 - 1);
  const call = await hold(run);
  await look();
  await passTime(admin, 1);
  await charge(call, 200);
  await look();
  expect(await topAlerts()).toEqual(["1 used 50", "1 used 80", "1 used 100"]);
  await limitTop(admin, { ...platform, amount: 300 });
  await look();
  expect(await topAlerts()).toHaveLength(3);
});

it("a limit of the platform that was taken away raises nothing, and one that comes back does", async () => {
  await admin.query("DELETE FROM top_alerts");
  await limitTop(admin, { ...platform, amount: 1_000 });
  const run = await createClaimedRun(admin, await createTenant(admin), { leaseMs: DAY_MS });
  await charge(await hold(run), 100);
  await limitTop(admin, { ...platform, amount: null });
  for (let n = 0; n < 6; n++) await charge(await hold(run), 150);
  await look();
  expect(await topAlerts()).toEqual([]);
  await limitTop(admin, { ...platform, amount: 1_000 });
  await look();
  expect((await topAlerts()).map((text) => text.slice(text.indexOf(" ")))).toEqual([
    " used 50",
    " used 80",
    " used 100",
  ]);
  await limitTop(admin, { ...platform, amount: null });
});

it("of many tasks that end together none is passed over", async () => {
  const tenant = await createTenant(admin);
  const tasks = 120;
  await look();
  for (let n = 0; n < tasks; n++) {
    const run = await createClaimedRun(admin, tenant, { costLimitNanoUsd: 200 });
    await charge(await hold(run), 200);
    await admin.query("SELECT end_task($1, $2, 'cancelled', 'test', NULL, '{}')", [
      run.workspaceId,
      run.taskId,
    ]);
  }
  for (let n = 0; n < 4; n++) {
    // The look comes late, as after a pause: when it is over, they have ended long ago.
    await passTime(admin, 20_000);
    await look();
  }
  const { rows } = await admin.query<{ count: string }>(
    "SELECT count(*) FROM limit_alerts WHERE workspace_id = $1 AND level = 'task'",
    [tenant.workspaceId],
  );
  expect(Number(rows[0]?.count)).toBe(3 * tasks);
});

it("request leases of a workspace that leases nothing any more are forgotten", async () => {
  const tenant = await createTenant(admin, { apiRequestsPerHour: 100 });
  await admin.query("SELECT lease_requests($1, 'node', 1, '[]', 1)", [tenant.workspaceId]);
  const left = async () =>
    (await admin.query("SELECT FROM request_leases WHERE workspace_id = $1", [tenant.workspaceId]))
      .rows.length;
  await createAlertJob({ db, log, storageQuotaBytes: null })();
  expect(await left()).toBe(1);
  await passTime(admin, DAY_MS);
  await createAlertJob({ db, log, storageQuotaBytes: null })();
  expect(await left()).toBe(0);
});

it("a look reads the runs that go on, not those that have ended", async () => {
  const tenant = await createTenant(admin);
  const ended = 20_000;
  await admin.query("SET session_replication_role = replica");
  await admin.query(
    `INSERT INTO runs (workspace_id, id, task_id, state, turn_at, ended_at)
       SELECT $1, 'run_' || n, 'task_' || n, 'ended', now(), now() FROM generate_series(1, $2::int) n`,
    [tenant.workspaceId, ended],
  );
  await admin.query(
    `INSERT INTO budgets (workspace_id, meter, level, scope_id, period, rank, limit_amount)
       SELECT $1, 'model_cost', 'task', 'task_' || n, 'all', 1, 5 FROM generate_series(1, $2::int) n`,
    [tenant.workspaceId, ended],
  );
  await admin.query("RESET session_replication_role; ANALYZE runs; ANALYZE budgets");
  await admin.query("BEGIN");
  const read = async (): Promise<number> => {
    const { rows } = await admin.query<{ seq_tup_read: string }>(
      "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'runs'",
    );
    return Number(rows[0]?.seq_tup_read);
  };
  const before = await read();
  await admin.query("SELECT raise_alerts(20000, false, NULL)");
  expect((await read()) - before).toBeLessThan(ended / 10);
  await admin.query("ROLLBACK");
});

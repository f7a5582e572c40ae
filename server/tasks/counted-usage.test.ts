import { expect, it } from "vitest";
import { request } from "../ledger/fixture.ts";
import { createLedger } from "../ledger/ledger.ts";
import { newId } from "../platform/ids.ts";
import { createTestDatabase } from "../test/database.ts";
import { createClaimedRun, createContent, createTenant, type Tenant } from "../test/tenant.ts";
import { readUsage } from "./usage.ts";

const { db, admin } = await createTestDatabase();
const ledger = createLedger({ db, processId: newId("wrk") });

/** Moves the database's clock; it is what all periods are counted by. */
const setClock = (offset: string) =>
  admin.query(
    `CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$SELECT clock_timestamp() + interval '${offset}'$$`,
  );

const tokens = (n: number) => ({
  input_tokens: 100 + n,
  cache_read_input_tokens: 10 * n,
  cache_creation_5m_input_tokens: 3 * n,
  cache_creation_1h_input_tokens: n,
  output_tokens: 7 + n,
});

/** One run with `calls` settled calls, so many tool calls and files, as the product leaves them. */
async function work(tenant: Tenant, calls: number): Promise<void> {
  const run = await createClaimedRun(admin, tenant);
  const { workspaceId } = tenant;
  for (let n = 1; n <= calls; n++) {
    const call = request(run);
    await ledger.reserve(call);
    const { holdId } = call;
    const ended = { workspaceId, holdId, outcome: "settled", actualNanoUsd: n } as const;
    await ledger.settle({ ...ended, usage: tokens(n) });
    await db.withWorkspace(workspaceId, (tx) =>
      tx.query({
        text: "SELECT record_step($1, $2, $3, $4, 'done', '{}', $5)",
        values: [
          run.runId,
          run.epoch,
          n,
          n % 2 === 0 ? "model" : "tool",
          JSON.stringify([{ type: "tool.ended", data: {} }]),
        ],
      }),
    );
  }
  const uploadId = newId("upl");
  await admin.query("INSERT INTO uploads (workspace_id, id, created_by) VALUES ($1, $2, 'x')", [
    workspaceId,
    uploadId,
  ]);
  for (let n = 1; n <= calls; n++)
    await admin.query(
      `INSERT INTO upload_files (workspace_id, upload_id, path, size_bytes, sha256) VALUES ($1, $2, $3, $4, $5)`,
      [workspaceId, uploadId, String(n), n * 100, await createContent(admin, tenant, n * 100)],
    );
  const written = await createContent(admin, tenant, 5_000);
  await admin.query(
    `INSERT INTO artifacts (workspace_id, id, task_id, run_id, path, size_bytes, sha256) VALUES ($1, $2, $3, $4, 'out', 5000, $5)`,
    [workspaceId, newId("art"), run.taskId, run.runId, written],
  );
  await db.ledger({
    text: "SELECT count_socket_time($1, $2::jsonb)",
    values: [
      newId("wrk"),
      JSON.stringify([{ workspace_id: workspaceId, open_ms: calls * 60_000 }]),
    ],
  });
}

async function countedOf({ workspaceId }: Tenant): Promise<Record<string, number>> {
  const { counted } = await db.withWorkspace(workspaceId, readUsage);
  return Object.fromEntries(counted.map((item) => [item.meter, item.used]));
}

/** The same, from the source rows, counted here. */
async function sourceOf({ workspaceId }: Tenant, since: Date): Promise<Record<string, number>> {
  const read = async <Row extends object>(text: string, values: unknown[] = [workspaceId, since]) =>
    (await admin.query<Row>(text, values)).rows;
  const usages = await read<{ usage: ReturnType<typeof tokens> }>(
    "SELECT usage FROM holds WHERE workspace_id = $1 AND held_at >= $2 AND usage IS NOT NULL",
  );
  const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);
  const files = await read<{ bytes: string }>(
    "SELECT size_bytes AS bytes FROM upload_files WHERE workspace_id = $1 UNION ALL SELECT size_bytes FROM artifacts WHERE workspace_id = $1",
    [workspaceId],
  );
  const sockets = await read<{ ms: string }>(
    "SELECT open_ms AS ms FROM socket_time WHERE workspace_id = $1 AND day >= to_char($2::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
  );
  return {
    input_tokens: sum(usages.map(({ usage }) => usage.input_tokens)),
    cache_read_tokens: sum(usages.map(({ usage }) => usage.cache_read_input_tokens)),
    cache_write_5m_tokens: sum(usages.map(({ usage }) => usage.cache_creation_5m_input_tokens)),
    cache_write_1h_tokens: sum(usages.map(({ usage }) => usage.cache_creation_1h_input_tokens)),
    output_tokens: sum(usages.map(({ usage }) => usage.output_tokens)),
    tool_calls: (
      await read(
        "SELECT 1 FROM steps WHERE workspace_id = $1 AND kind = 'tool' AND started_at >= $2",
      )
    ).length,
    events: (await read("SELECT 1 FROM events WHERE workspace_id = $1 AND at >= $2")).length,
    storage_bytes: sum(files.map((file) => Number(file.bytes))),
    socket_time: sum(sockets.map((row) => Number(row.ms))),
  };
}

async function monthStart(): Promise<Date> {
  const { rows } = await admin.query<{ at: Date }>(
    "SELECT date_trunc('month', clock_now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS at",
  );
  return rows[0]!.at;
}

it("each total equals its source rows of this month; last month's and other workspaces' are not among them", async () => {
  const [tenant, other] = [await createTenant(admin), await createTenant(admin)];
  await setClock("-40 days");
  await work(tenant, 2);
  const lastMonth = await monthStart();
  await setClock("0 days");
  await work(tenant, 5);
  await work(other, 3);
  const since = await monthStart();
  const counted = await countedOf(tenant);
  expect(counted).toEqual(await sourceOf(tenant, since));
  expect(counted).toMatchObject({
    input_tokens: 5 * 100 + 15,
    tool_calls: 3,
    storage_bytes: 300 + 1_500 + 2 * 5_000,
    socket_time: 5 * 60_000,
  });
  expect(await countedOf(other)).toEqual(await sourceOf(other, since));
  // Only what is stored is counted beyond the month.
  expect((await sourceOf(tenant, lastMonth))["tool_calls"]).toBe(4);
});

it("a charge that is lowered later counts the tokens that the provider told of", async () => {
  const tenant = await createTenant(admin);
  const run = await createClaimedRun(admin, tenant);
  const call = request(run);
  await ledger.reserve(call);
  const { workspaceId } = tenant;
  const { holdId } = call;
  await ledger.settle({ workspaceId, holdId, outcome: "provisional" });
  expect((await countedOf(tenant))["input_tokens"]).toBe(0);
  const usage = tokens(1);
  await ledger.settle({ workspaceId, holdId, outcome: "settled", actualNanoUsd: 1, usage });
  expect((await countedOf(tenant))["input_tokens"]).toBe(101);
});

it("the sums of a month are read by an index", async () => {
  const tenant = await createTenant(admin);
  await admin.query("SET enable_seqscan = off");
  const explain = async (text: string): Promise<string> =>
    (await admin.query<{ "QUERY PLAN": string }>(`EXPLAIN ${text}`, [tenant.workspaceId])).rows
      .map((row) => row["QUERY PLAN"])
      .join("\n");
  const since = "now() - interval '20 days'";
  expect(
    await explain(
      `SELECT count(*) FROM steps WHERE workspace_id = $1 AND kind = 'tool' AND started_at >= ${since}`,
    ),
  ).toContain("steps_tools");
  expect(
    await explain(`SELECT count(*) FROM events WHERE workspace_id = $1 AND at >= ${since}`),
  ).toContain("events_at");
  await admin.query("RESET enable_seqscan");
});

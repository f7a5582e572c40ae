import { expect, it } from "vitest";
import { alertListSchema, workspaceEventSchema } from "@guildhall/sdk/contract/alert.ts";
import { createLogger } from "../platform/log.ts";
import { type Caller, startTestApi } from "../test/api.ts";
import { createAlertJob } from "./alert-job.ts";

const QUOTA_BYTES = 100;
const api = await startTestApi({ quotaBytes: QUOTA_BYTES });
const { admin, db, files, send } = api;
const log = createLogger({ level: "silent" });

/** Looks until nothing new is found; the first look of each process counts what changes slowly. */
async function look(storageQuotaBytes = files.quotaBytes): Promise<void> {
  while ((await createAlertJob({ db, log, storageQuotaBytes })()) !== 0);
}

async function upload({ key }: Caller, sizeBytes: number, letter: string): Promise<number> {
  const body = new FormData();
  body.append("files", new Blob([letter.repeat(sizeBytes)]), "a.txt");
  return (await send("POST", "/v1/uploads", { key, body })).status;
}

async function agree({ workspaceId }: Caller, version: number, quotaBytes: number | null) {
  await admin.query(
    "INSERT INTO storage_agreements (workspace_id, version, is_own, quota_bytes, changed_by) VALUES ($1, $2, true, $3, 'operator')",
    [workspaceId, version, quotaBytes],
  );
}

/** Oldest first. */
async function alertsOf({ key }: Caller): Promise<string[]> {
  const response = await send("GET", "/v1/alerts", { key });
  const { data } = alertListSchema.strict().parse(await response.json());
  return data
    .toReversed()
    .map((row) => `${row.meter} v${row.limit_version} ${row.percent}: ${row.amount}/${row.limit}`);
}

it("stored files are told of at 50, 80 and 100 %, each once, with one event and one outbox row", async () => {
  const caller = await api.caller();
  expect(await upload(caller, 49, "a")).toBe(201);
  await look();
  expect(await alertsOf(caller)).toEqual([]);
  expect(await upload(caller, 1, "b")).toBe(201);
  await look();
  await look();
  expect(await alertsOf(caller)).toEqual(["storage_bytes v0 50: 50/100"]);
  expect(await upload(caller, 50, "c")).toBe(201);
  await Promise.all(Array.from({ length: 5 }, () => look()));
  expect(await alertsOf(caller)).toEqual([
    "storage_bytes v0 50: 50/100",
    "storage_bytes v0 80: 100/100",
    "storage_bytes v0 100: 100/100",
  ]);
  const told = await admin.query<{ type: string; data: unknown }>(
    "SELECT type, data FROM events WHERE workspace_id = $1 AND type = 'limit.alert'",
    [caller.workspaceId],
  );
  expect(told.rows.map((row) => workspaceEventSchema.parse(row).type)).toHaveLength(3);
  const outbox = await admin.query(
    "SELECT FROM outbox WHERE workspace_id = $1 AND topic = 'limit.alert'",
    [caller.workspaceId],
  );
  expect(outbox.rowCount).toBe(3);
});

it("what was agreed counts in place of the installation's quota, and each agreement anew", async () => {
  const caller = await api.caller();
  const other = await api.caller();
  await agree(caller, 1, 60);
  for (const each of [caller, other]) expect(await upload(each, 48, "a")).toBe(201);
  await look();
  await agree(caller, 2, 90);
  await look();
  await agree(caller, 3, null);
  await look();
  expect(await alertsOf(caller)).toEqual([
    "storage_bytes v1 50: 48/60",
    "storage_bytes v1 80: 48/60",
    "storage_bytes v2 50: 48/90",
  ]);
  expect(await alertsOf(other)).toEqual([]);
});

it("without a quota nothing is told, and one below what is stored is reached", async () => {
  const caller = await api.caller();
  expect(await upload(caller, 30, "a")).toBe(201);
  await look(null);
  expect(await alertsOf(caller)).toEqual([]);
  await agree(caller, 1, 0);
  await look(null);
  expect(await alertsOf(caller)).toEqual(["storage_bytes v1 100: 30/0"]);
});

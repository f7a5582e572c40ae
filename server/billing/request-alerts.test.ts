import { expect, it } from "vitest";
import { setLimit } from "../ledger/limits.ts";
import { createRequestLeases, leaseRequests } from "../ledger/request-leases.ts";
import { systemClock } from "../platform/clock.ts";
import { createLogger } from "../platform/log.ts";
import { installClock } from "../test/clock.ts";
import { newId } from "../platform/ids.ts";
import { createTestDatabase } from "../test/database.ts";
import { createTenant, type Tenant } from "../test/tenant.ts";
import { createAlertJob } from "./alert-job.ts";

const { db, admin } = await createTestDatabase();
await installClock(admin);

const setClock = (iso: string) =>
  admin.query("UPDATE test_clock SET now = $1", [new Date(iso)]).then(() => undefined);

/** A process of the API, that leases so many requests and makes all of them unless it dies before it tells. */
function createNode(tenant: Tenant, nodeId: string) {
  let callNo = 0;
  const spent = new Map<number, number>();
  const call = (wish: number) =>
    leaseRequests(db, tenant.workspaceId, {
      nodeId,
      callNo: ++callNo,
      spent: [...spent].map(([minute, count]) => ({ minute, spent: count })),
      wish,
    });
  return {
    async makes(count: number): Promise<void> {
      const leased = await call(count);
      if (leased.status !== "granted") throw new Error(leased.status);
      spent.set(leased.minute, (spent.get(leased.minute) ?? 0) + count);
      await call(0);
    },
    leasesAndDies: (count: number) => call(count),
  };
}

/** Looks as often as a process does in a minute; the first look of each process counts what changes slowly. */
async function look(): Promise<void> {
  const job = createAlertJob({
    db,
    log: createLogger({ level: "silent" }),
    storageQuotaBytes: null,
  });
  while ((await job()) !== 0);
}

async function alertsOf({ workspaceId }: Tenant): Promise<string[]> {
  const { rows } = await admin.query<Record<string, string>>(
    "SELECT period, limit_version, kind, percent, amount FROM limit_alerts WHERE workspace_id = $1 AND meter = 'api_requests' ORDER BY seq",
    [workspaceId],
  );
  return rows.map(
    (row) => `${row["period"]} v${row["limit_version"]} ${row["percent"]}: ${row["amount"]}`,
  );
}

it("API requests are told of at 50, 80 and 100 %, once in an hour, also when the window reaches into the next", async () => {
  await setClock("2026-11-25T12:50:10Z");
  const tenant = await createTenant(admin, { apiRequestsPerHour: 10 });
  const node = createNode(tenant, "api_1");
  await node.makes(4);
  await look();
  expect(await alertsOf(tenant)).toEqual([]);
  await node.makes(1);
  await Promise.all([look(), look(), look()]);
  await look();
  expect(await alertsOf(tenant)).toEqual(["2026-11-25T12 v1 50: 5"]);
  await node.makes(3);
  await look();
  await node.makes(2);
  await look();
  await setClock("2026-11-25T13:05:10Z");
  await look();
  expect(await alertsOf(tenant)).toEqual([
    "2026-11-25T12 v1 50: 5",
    "2026-11-25T12 v1 80: 8",
    "2026-11-25T12 v1 100: 10",
  ]);
  // Those of 12:50 have left the window, and a new burst is told again.
  await setClock("2026-11-25T13:52:10Z");
  await node.makes(5);
  await look();
  expect((await alertsOf(tenant)).slice(3)).toEqual(["2026-11-25T13 v1 50: 5"]);
});

it("a changed limit counts anew within the hour", async () => {
  await setClock("2026-11-25T15:00:10Z");
  const tenant = await createTenant(admin, { apiRequestsPerHour: 10 });
  await createNode(tenant, "api_1").makes(6);
  await look();
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    setLimit(tx, {
      meter: "api_requests",
      level: "workspace",
      scopeId: tenant.workspaceId,
      amount: 7,
      actor: "test",
    }),
  );
  await look();
  expect(await alertsOf(tenant)).toEqual([
    "2026-11-25T15 v1 50: 6",
    "2026-11-25T15 v2 50: 6",
    "2026-11-25T15 v2 80: 6",
  ]);
});

it("what a process leased ahead is no use; what a dead one leased is, when its minutes are over, for it is lost to the limit", async () => {
  await setClock("2026-11-25T16:00:10Z");
  const tenant = await createTenant(admin, { apiRequestsPerHour: 10 });
  await createNode(tenant, "api_dead").leasesAndDies(10);
  await look();
  expect(await alertsOf(tenant)).toEqual([]);
  await setClock("2026-11-25T16:02:10Z");
  await look();
  expect(await alertsOf(tenant)).toEqual([
    "2026-11-25T16 v1 50: 10",
    "2026-11-25T16 v1 80: 10",
    "2026-11-25T16 v1 100: 10",
  ]);
});

/** Requests at a process of the API, as many as are said; what it refused has been told. */
async function request(tenant: Tenant, count: number) {
  const node = createRequestLeases({ db, clock: systemClock, nodeId: newId("wrk") });
  const answers = await Promise.all(
    Array.from({ length: count }, () => node.take(tenant.workspaceId)),
  );
  await node.close();
  return answers.filter(({ status }) => status === "exhausted").length;
}

it("refused requests are demand: twice the limit within 60 minutes is told once, whoever refused", async () => {
  await setClock("2026-11-25T18:40:10Z");
  const tenant = await createTenant(admin, { apiRequestsPerHour: 10 });
  expect(await request(tenant, 12)).toBe(2);
  expect(await request(tenant, 7)).toBe(7);
  await look();
  expect((await alertsOf(tenant)).at(-1)).toBe("2026-11-25T18 v1 100: 10");
  expect(await request(tenant, 1)).toBe(1);
  await Promise.all([look(), look(), look()]);
  expect(await request(tenant, 50)).toBe(50);
  await setClock("2026-11-25T19:05:10Z");
  await look();
  expect((await alertsOf(tenant)).slice(1)).toEqual([
    "2026-11-25T18 v1 80: 10",
    "2026-11-25T18 v1 100: 10",
    "2026-11-25T18 v1 200: 20",
  ]);
});

it("what a former limit refused is no demand for the one that took its place, and what is old is forgotten", async () => {
  await setClock("2026-11-25T20:00:10Z");
  const tenant = await createTenant(admin, { apiRequestsPerHour: 1 });
  await request(tenant, 300);
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    setLimit(tx, {
      meter: "api_requests",
      level: "workspace",
      scopeId: tenant.workspaceId,
      amount: 100,
      actor: "test",
    }),
  );
  await look();
  expect(await alertsOf(tenant)).toEqual([]);
  await setClock("2026-11-25T23:00:10Z");
  await look();
  const { rowCount } = await admin.query("SELECT 1 FROM refused_requests");
  expect(rowCount).toBe(0);
});

it("a limit of nothing is told of when it refuses", async () => {
  await setClock("2026-11-26T09:00:10Z");
  const tenant = await createTenant(admin, { apiRequestsPerHour: 0 });
  await request(tenant, 1);
  await look();
  expect(await alertsOf(tenant)).toEqual(["2026-11-26T09 v1 100: 0", "2026-11-26T09 v1 200: 1"]);
});

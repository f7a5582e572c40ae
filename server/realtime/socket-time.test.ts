import { expect, it } from "vitest";
import { newId } from "../platform/ids.ts";
import { createTestDatabase } from "../test/database.ts";
import { createTenant, type Tenant } from "../test/tenant.ts";
import { createSocketTime } from "./socket-time.ts";

const { db, admin } = await createTestDatabase();

let nowMs = 0;
const clock = { now: () => new Date(nowMs), monotonicMs: () => nowMs };
const createNode = (through = db) => createSocketTime({ db: through, clock, nodeId: newId("wrk") });

async function daysOf({ workspaceId }: Tenant): Promise<number[]> {
  const { rows } = await admin.query<{ ms: number }>(
    "SELECT sum(open_ms)::int AS ms FROM socket_time WHERE workspace_id = $1 GROUP BY day ORDER BY day",
    [workspaceId],
  );
  return rows.map((row) => row.ms);
}

it("sockets count as long as they are open, each for itself and each workspace for itself", async () => {
  const [one, other] = [await createTenant(admin), await createTenant(admin)];
  const node = createNode();
  const close = node.opened(one.workspaceId);
  nowMs += 1_000;
  node.opened(one.workspaceId);
  node.opened(other.workspaceId);
  nowMs += 500;
  close();
  close();
  nowMs += 100;
  await node.flush();
  expect(await daysOf(one)).toEqual([1_000 + 2 * 500 + 100]);
  expect(await daysOf(other)).toEqual([600]);
});

it("what is told twice counts once, also when the answer was lost, and two processes add up", async () => {
  const tenant = await createTenant(admin);
  let lose = true;
  const node = createNode({
    ...db,
    async ledger(statement) {
      const rows = await db.ledger(statement);
      if (lose) throw new Error("Connection terminated unexpectedly");
      return rows as never;
    },
  });
  node.opened(tenant.workspaceId);
  nowMs += 1_000;
  await expect(node.flush()).rejects.toThrow("terminated");
  lose = false;
  await node.flush();
  await node.flush();
  expect(await daysOf(tenant)).toEqual([1_000]);
  const second = createNode();
  second.opened(tenant.workspaceId);
  nowMs += 250;
  await Promise.all([node.flush(), second.flush()]);
  expect(await daysOf(tenant)).toEqual([1_500]);
});

it("time belongs to the day on which it is told", async () => {
  const tenant = await createTenant(admin);
  const node = createNode();
  node.opened(tenant.workspaceId);
  nowMs += 1_000;
  await node.flush();
  await admin.query(
    "CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$SELECT clock_timestamp() + interval '1 day'$$",
  );
  nowMs += 300;
  await node.flush();
  await node.flush();
  expect(await daysOf(tenant)).toEqual([1_000, 300]);
});

it("a workspace that is gone meanwhile keeps nobody else's time from being counted", async () => {
  const tenant = await createTenant(admin);
  const node = createNode();
  node.opened("ws_gone");
  node.opened(tenant.workspaceId);
  nowMs += 40;
  await node.flush();
  expect(await daysOf(tenant)).toEqual([40]);
});

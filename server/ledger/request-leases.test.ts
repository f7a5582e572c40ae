import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, it } from "vitest";
import { systemClock } from "../platform/clock.ts";
import type { Statement } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { installClock } from "../test/clock.ts";
import { createTestDatabase } from "../test/database.ts";
import { createTenant, type Tenant } from "../test/tenant.ts";
import { setLimit } from "./limits.ts";
import { createRequestLeases, leaseRequests } from "./request-leases.ts";
import { type Lease, lease, type LeaseCall } from "./request-window.ts";

const { db, admin, ownerUrl } = await createTestDatabase();
await installClock(admin);

const MINUTE_MS = 60_000;
/** In the middle of a minute, so that what a test does at once stays in one. */
const START_MS = Date.parse("2026-11-25T12:00:30.123Z");

async function setClock(nowMs: number): Promise<void> {
  await admin.query("UPDATE test_clock SET now = $1", [new Date(nowMs)]);
}

async function allow(tenant: Tenant, amount: number | null): Promise<void> {
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    setLimit(tx, {
      meter: "api_requests",
      level: "workspace",
      scopeId: tenant.workspaceId,
      amount,
      actor: "test",
    }),
  );
}

async function tenantWith(amount: number | null): Promise<Tenant> {
  await setClock(START_MS);
  const tenant = await createTenant(admin);
  await allow(tenant, amount);
  return tenant;
}

async function versionOf(tenant: Tenant): Promise<number> {
  const { rows } = await admin.query<{ version: number }>(
    "SELECT max(version) AS version FROM limits WHERE workspace_id = $1 AND meter = 'api_requests'",
    [tenant.workspaceId],
  );
  return rows[0]!.version;
}

async function leasesOf(tenant: Tenant): Promise<Lease[]> {
  const { rows } = await admin.query<Record<keyof Lease, string>>(
    `SELECT minute, node_id AS "nodeId", granted, spent, call_no AS "callNo" FROM request_leases WHERE workspace_id = $1 ORDER BY minute, node_id`,
    [tenant.workspaceId],
  );
  return rows.map((row) => ({
    minute: Number(row.minute),
    nodeId: row.nodeId,
    granted: Number(row.granted),
    spent: Number(row.spent),
    callNo: Number(row.callNo),
  }));
}

/** A process that serves requests: its own numbering, its own leases. */
const createNode = () => createRequestLeases({ db, clock: systemClock, nodeId: newId("wrk") });

const inOrder = (leases: readonly Lease[]): Lease[] =>
  leases.toSorted((a, b) => a.minute - b.minute || (a.nodeId < b.nodeId ? -1 : 1));

type Command =
  | { do: "call"; node: number; spends: number; wish: number; isOld: boolean }
  | { do: "pass"; ms: number }
  | { do: "limit"; amount: number | null };

const commands: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant("call" as const),
        node: fc.nat(2),
        spends: fc.nat(40),
        wish: fc.oneof(fc.constant(1), fc.nat(30)),
        isOld: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, fc.constant(true)),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("pass" as const),
        // The edges of the window lie an hour away, to the minute.
        ms: fc.oneof(
          fc.nat(15 * MINUTE_MS),
          fc.constantFrom(59, 60, 61).map((minutes) => minutes * MINUTE_MS),
        ),
      }),
    },
    fc.record({
      do: fc.constant("limit" as const),
      amount: fc.oneof(fc.nat(300), fc.constant(null)),
    }),
  ),
  { minLength: 5, maxLength: 40 },
);

it("the database leases as the pure rule does: every call gets the same answer and leaves the same leases", async () => {
  await fc.assert(
    fc.asyncProperty(commands, async (sequence) => {
      let limit: number | null = 100;
      const tenant = await tenantWith(limit);
      let leases: readonly Lease[] = [];
      let nowMs = START_MS;
      const callNos = [0, 0, 0];
      for (const command of sequence) {
        if (command.do === "pass") {
          nowMs += command.ms;
          await setClock(nowMs);
          continue;
        }
        if (command.do === "limit") {
          limit = command.amount;
          await allow(tenant, limit);
          continue;
        }
        const nodeId = `api_${command.node}`;
        const mine = leases.filter((item) => item.nodeId === nodeId);
        const call: LeaseCall = {
          nodeId,
          callNo: command.isOld ? callNos[command.node]! : ++callNos[command.node]!,
          spent: mine
            .slice(-2)
            .map((item) => ({ minute: item.minute, spent: item.spent + command.spends })),
          wish: command.wish,
        };
        const limitVersion = await versionOf(tenant);
        const decided = lease(leases, call, { limit, limitVersion, nowMs });
        leases = decided.leases;
        expect(await leaseRequests(db, tenant.workspaceId, call)).toEqual(decided.answer);
        expect(await leasesOf(tenant)).toEqual(inOrder(leases));
      }
    }),
    { numRuns: 60 },
  );
});

it("of 200 requests at once over two processes exactly as many are admitted as the limit allows", async () => {
  const tenant = await tenantWith(77);
  const nodes = [createNode(), createNode()];
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, n) => nodes[n % 2]!.take(tenant.workspaceId)),
  );
  expect(answers.filter((answer) => answer.status === "admitted")).toHaveLength(77);
  const refused = answers.find((answer) => answer.status === "exhausted");
  // The minute at whose half the test stands, and 60 more.
  expect(refused).toMatchObject({ limit: 77, retryAfterMs: expect.any(Number) as number });
});

it("what is left falls with each request, and a refused one uses nothing", async () => {
  const tenant = await tenantWith(3);
  const node = createNode();
  const take = () => node.take(tenant.workspaceId);
  const left = [];
  for (let n = 0; n < 3; n++) left.push(await take());
  expect(left).toMatchObject([2, 1, 0].map((remaining) => ({ quota: { limit: 3, remaining } })));
  for (let n = 0; n < 5; n++) expect(await take()).toMatchObject({ status: "exhausted" });
  expect(await leasesOf(tenant)).toMatchObject([{ granted: 3 }]);
});

it("a limit that was raised admits at once elsewhere, and one that was lowered refuses what is not leased yet", async () => {
  const tenant = await tenantWith(40);
  const first = createNode();
  await first.take(tenant.workspaceId);
  await allow(tenant, 1);
  // One block of two was leased under the old limit, and is honoured.
  expect(await first.take(tenant.workspaceId)).toMatchObject({ status: "admitted" });
  expect(await first.take(tenant.workspaceId)).toMatchObject({ status: "exhausted" });
  await allow(tenant, 100);
  expect(await createNode().take(tenant.workspaceId)).toMatchObject({ status: "admitted" });
});

it("a lease that was not used up comes back when its process closes", async () => {
  const tenant = await tenantWith(100);
  const node = createNode();
  await node.take(tenant.workspaceId);
  expect(await leasesOf(tenant)).toMatchObject([{ granted: 5, spent: 0 }]);
  await node.close();
  expect(await leasesOf(tenant)).toMatchObject([{ granted: 1, spent: 1 }]);
});

it("requests without a limit are counted, and one workspace's do not count for another", async () => {
  const [free, other] = [await tenantWith(null), await tenantWith(1)];
  const node = createNode();
  for (let n = 0; n < 120; n++)
    expect(await node.take(free.workspaceId)).toEqual({ status: "admitted", quota: null });
  expect(await node.take(other.workspaceId)).toMatchObject({ status: "admitted" });
  await node.close();
  expect(await leasesOf(free)).toMatchObject([{ spent: 120 }]);
  expect(await leasesOf(other)).toMatchObject([{ granted: 1 }]);
});

it("what a killed process had leased counts as used: others get the rest, and nothing beyond the limit", async () => {
  const limit = 100;
  const tenant = await tenantWith(limit);
  const program = fileURLToPath(new URL("../test/request-process.ts", import.meta.url));
  const killed = spawn(process.execPath, [program, ownerUrl, tenant.workspaceId], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let written = "";
  killed.stdout.on("data", (data: Buffer) => {
    written += data.toString();
    if (written.length > "admitted\n".length * 12) killed.kill("SIGKILL");
  });
  await once(killed, "close");
  expect(killed.signalCode).toBe("SIGKILL");
  const before = written.split("\n").length - 1;

  const node = createNode();
  let after = 0;
  while ((await node.take(tenant.workspaceId)).status === "admitted") after++;
  // A line that the killed process could not write any more is one request at most.
  expect(before + after).toBeLessThanOrEqual(limit);
  expect(before + after).toBeGreaterThanOrEqual(limit - limit / 20 - 1);
  // 61 minutes after, everything is there again.
  await setClock(START_MS + 61 * MINUTE_MS);
  const later = createNode();
  let again = 0;
  while ((await later.take(tenant.workspaceId)).status === "admitted") again++;
  expect(again).toBe(limit);
});

it("a flood of refused requests costs no statement each, and is counted once although an answer is lost", async () => {
  const tenant = await tenantWith(1);
  const statements: string[] = [];
  let losesAnswer = false;
  const node = createRequestLeases({
    db: {
      ...db,
      async ledger<T extends object>(query: Statement) {
        statements.push(query.name ?? "");
        const rows = await db.ledger<T>(query);
        if (losesAnswer) throw new Error("the answer was lost");
        return rows;
      },
    },
    // No time passes, so what was answered last stays believed.
    clock: { ...systemClock, monotonicMs: () => 1 },
    nodeId: newId("wrk"),
  });
  const refuse = async (count: number) => {
    for (let n = 0; n < count; n++)
      expect(await node.take(tenant.workspaceId)).toMatchObject({ status: "exhausted" });
  };
  const refused = async () => {
    const { rows } = await admin.query<{ refused: string; limit_version: number }>(
      "SELECT refused, limit_version FROM refused_requests WHERE workspace_id = $1",
      [tenant.workspaceId],
    );
    return rows.map((row) => [Number(row.refused), row.limit_version]);
  };
  await node.take(tenant.workspaceId);
  await refuse(500);
  expect(statements).toEqual(["ledger_lease_requests", "ledger_lease_requests"]);
  losesAnswer = true;
  await expect(node.settle()).rejects.toThrow("lost");
  losesAnswer = false;
  await refuse(3);
  await node.settle();
  await node.settle();
  const version = await versionOf(tenant);
  expect(await refused()).toEqual([[503, version]]);
  expect(statements.slice(2)).toEqual(["note_refused_requests", "note_refused_requests"]);
});

it("without a database nothing is admitted", async () => {
  const tenant = await tenantWith(100);
  const node = createRequestLeases({
    db: { ...db, ledger: () => Promise.reject(new Error("the database is away")) },
    clock: systemClock,
    nodeId: newId("wrk"),
  });
  await expect(node.take(tenant.workspaceId)).rejects.toThrow("away");
  await expect(node.settle()).rejects.toThrow("away");
});

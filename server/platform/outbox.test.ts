import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { createTenant } from "../test/tenant.ts";
import { type OutboxRow, relayOutbox } from "./outbox.ts";

const { db, admin, settled } = await createTestDatabase();
const { workspaceId } = await createTenant(admin);

async function put(topic: string): Promise<void> {
  await db.withWorkspace(workspaceId, (tx) =>
    tx.query({
      text: `INSERT INTO outbox (workspace_id, topic, payload) VALUES ($1, $2, '{}')`,
      values: [workspaceId, topic],
    }),
  );
}

async function take(): Promise<string[]> {
  const taken: string[] = [];
  await relayOutbox(db, (rows: readonly OutboxRow[]) => {
    taken.push(...rows.map((row) => row.topic));
    return Promise.resolve();
  });
  return taken;
}

it("rows are handed on once, in their order", async () => {
  for (const topic of ["a", "b", "c"]) await put(topic);
  await settled();
  expect(await take()).toEqual(["a", "b", "c"]);
  expect(await take()).toEqual([]);
});

it("a row stays when its delivery fails", async () => {
  await put("kept");
  await settled();
  const failure = new Error("receiver is away");
  await expect(relayOutbox(db, () => Promise.reject(failure))).rejects.toBe(failure);
  expect(await take()).toEqual(["kept"]);
});

it("two relays at once hand each row on once, together", async () => {
  for (let n = 0; n < 40; n++) await put(`row ${n}`);
  await settled();
  const [left, right] = await Promise.all([take(), take()]);
  expect([...left, ...right].toSorted()).toEqual(
    Array.from({ length: 40 }, (_, n) => `row ${n}`).toSorted(),
  );
});

it("a look hands on all that is there, in order, however many transactions that are", async () => {
  await admin.query(
    "INSERT INTO outbox (workspace_id, topic, payload) SELECT $1, 'row ' || n, '{}' FROM generate_series(1, 1200) n",
    [workspaceId],
  );
  await settled();
  expect(await take()).toEqual(Array.from({ length: 1_200 }, (_, n) => `row ${n + 1}`));
});

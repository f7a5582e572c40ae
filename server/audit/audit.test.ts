import { expect, test } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { appendAudit, appendPlatformAudit, verifyAudit } from "./audit.ts";

const { db, admin } = await createTestDatabase();

async function workspace(id: string): Promise<string> {
  await admin.query("INSERT INTO billing_accounts (id, name) VALUES ($1, $1)", [`ba_${id}`]);
  await admin.query(
    "INSERT INTO workspaces (workspace_id, name, billing_account_id, plan) VALUES ($1, $1, $2, 'free')",
    [id, `ba_${id}`],
  );
  return id;
}

const entry = { actor: "user:usr_1", action: "task.created", target: "task_1", origin: "::1" };
const verify = (id: string) => db.withWorkspace(id, verifyAudit);

async function withThreeLines(id: string): Promise<string> {
  await workspace(id);
  for (const target of ["task_1", "task_2", "task_3"])
    await db.withWorkspace(id, (tx) => appendAudit(tx, { ...entry, target, after: { target } }));
  return id;
}

test("lines are numbered from 1 without a gap, also when written at once", async () => {
  const id = await workspace("ws_numbers");
  const append = () => db.withWorkspace(id, (tx) => appendAudit(tx, entry));
  const numbers = await Promise.all(Array.from({ length: 8 }, append));
  expect(numbers.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(await verify(id)).toEqual({ ok: true, lines: 8 });
});

test("a mutation that is rolled back leaves no line and no gap", async () => {
  const id = await workspace("ws_rollback");
  const failing = db.withWorkspace(id, async (tx) => {
    await appendAudit(tx, entry);
    throw new Error("no");
  });
  await expect(failing).rejects.toThrow("no");
  expect(await db.withWorkspace(id, (tx) => appendAudit(tx, entry))).toBe(1);
});

test("only the hash of a content is kept, and it does not depend on the order of keys", async () => {
  const id = await workspace("ws_hash");
  await db.withWorkspace(id, (tx) => appendAudit(tx, { ...entry, after: { b: "secret", a: [1] } }));
  await db.withWorkspace(id, (tx) => appendAudit(tx, { ...entry, after: { a: [1], b: "secret" } }));
  const { rows } = await admin.query("SELECT * FROM audit_lines WHERE workspace_id = $1", [id]);
  expect(JSON.stringify(rows)).not.toContain("secret");
  expect(rows[0].after_hash).toMatch(/^[0-9a-f]{64}$/);
  expect(rows[1].after_hash).toBe(rows[0].after_hash);
  expect(rows[0].before_hash).toBeNull();
});

test("one changed byte is found, at its line", async () => {
  const id = await withThreeLines("ws_changed");
  await admin.query(
    "UPDATE audit_lines SET target = 'task_9' WHERE workspace_id = $1 AND seq = 2",
    [id],
  );
  expect(await verify(id)).toEqual({ ok: false, brokenAt: 2 });
});

test("a line whose own hash was recomputed still breaks the chain after it", async () => {
  const id = await withThreeLines("ws_rehashed");
  await admin.query(
    `UPDATE audit_lines SET actor = 'user:usr_2', hash = audit_hash(previous_hash, seq, at, 'user:usr_2', action, target, origin, before_hash, after_hash)
     WHERE workspace_id = $1 AND seq = 2`,
    [id],
  );
  expect(await verify(id)).toEqual({ ok: false, brokenAt: 3 });
});

test("a removed line is found, in the middle and at the end", async () => {
  const middle = await withThreeLines("ws_middle");
  await admin.query("DELETE FROM audit_lines WHERE workspace_id = $1 AND seq = 2", [middle]);
  expect(await verify(middle)).toEqual({ ok: false, brokenAt: 2 });
  const end = await withThreeLines("ws_end");
  await admin.query("DELETE FROM audit_lines WHERE workspace_id = $1 AND seq = 3", [end]);
  expect(await verify(end)).toEqual({ ok: false, brokenAt: 3 });
});

test("those who serve requests can neither change nor remove a line", async () => {
  const id = await withThreeLines("ws_grants");
  for (const text of ["UPDATE audit_lines SET actor = 'x'", "DELETE FROM audit_lines"]) {
    await expect(db.withWorkspace(id, (tx) => tx.query({ text, values: [] }))).rejects.toThrow(
      "permission denied",
    );
    await expect(db.withPlatform((tx) => tx.query({ text, values: [] }))).rejects.toThrow(
      "permission denied",
    );
  }
});

test("a platform job writes into the chain of the workspace that it names", async () => {
  const id = await workspace("ws_platform");
  await db.withWorkspace(id, (tx) => appendAudit(tx, entry));
  expect(await db.withPlatform((tx) => appendPlatformAudit(tx, id, entry))).toBe(2);
  expect(await verify(id)).toEqual({ ok: true, lines: 2 });
});

test("a workspace verifies its own chain only", async () => {
  const broken = await withThreeLines("ws_broken");
  await admin.query("DELETE FROM audit_lines WHERE workspace_id = $1 AND seq = 1", [broken]);
  const empty = await workspace("ws_empty");
  expect(await verify(empty)).toEqual({ ok: true, lines: 0 });
});

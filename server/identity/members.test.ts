import { expect, it } from "vitest";
import type { Role } from "@guildhall/sdk/contract/workspace.ts";
import { newId } from "../platform/ids.ts";
import { createTestDatabase } from "../test/database.ts";
import { createTenant, type Tenant } from "../test/tenant.ts";
import { addMember } from "./members.ts";

const { db, admin } = await createTestDatabase();

async function createUser(): Promise<string> {
  const id = newId("usr");
  await admin.query("INSERT INTO users (id, name) VALUES ($1, 'Somebody')", [id]);
  return id;
}

function join(tenant: Tenant, userId: string, role: Role = "member"): Promise<boolean> {
  return db.withWorkspace(tenant.workspaceId, (tx) => addMember(tx, { userId, role }));
}

async function membersOf(tenant: Tenant): Promise<number> {
  const { rows } = await admin.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM memberships WHERE workspace_id = $1",
    [tenant.workspaceId],
  );
  return rows[0]!.n;
}

function setSeats(tenant: Tenant, amount: number | null): Promise<unknown> {
  return db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({
      text: "SELECT set_limit('members', 'workspace', $1, $2, 'test')",
      values: [tenant.workspaceId, amount],
    }),
  );
}

it("of 50 people who join at once exactly as many get in as there are seats", async () => {
  const tenant = await createTenant(admin, { members: 20 });
  const users = await Promise.all(Array.from({ length: 50 }, createUser));
  const answers = await Promise.allSettled(users.map((userId) => join(tenant, userId)));
  // The owner has the first seat.
  expect(answers.filter((answer) => answer.status === "fulfilled")).toHaveLength(19);
  for (const answer of answers)
    if (answer.status === "rejected")
      expect(answer.reason).toMatchObject({ code: "members_exhausted", status: 402 });
  expect(await membersOf(tenant)).toBe(20);
});

it("one who accepts 20 times at once takes one seat", async () => {
  const tenant = await createTenant(admin, { members: 20 });
  const userId = await createUser();
  const answers = await Promise.all(Array.from({ length: 20 }, () => join(tenant, userId)));
  expect(answers.filter(Boolean)).toHaveLength(1);
  expect(await membersOf(tenant)).toBe(2);
});

it("seats that are lowered while people join are never more than the larger number", async () => {
  const tenant = await createTenant(admin, { members: 10 });
  const users = await Promise.all(Array.from({ length: 30 }, createUser));
  await Promise.all([
    ...users.map((userId) => join(tenant, userId).catch(() => false)),
    setSeats(tenant, 4),
  ]);
  const members = await membersOf(tenant);
  expect(members).toBeGreaterThanOrEqual(4);
  expect(members).toBeLessThanOrEqual(10);
});

it("a limit below the present number keeps who is there and refuses new ones, until there are seats again", async () => {
  const tenant = await createTenant(admin, { members: 3 });
  const users = await Promise.all([createUser(), createUser()]);
  for (const userId of users) await join(tenant, userId);
  await setSeats(tenant, 1);
  expect(await membersOf(tenant)).toBe(3);
  const late = await createUser();
  await expect(join(tenant, late)).rejects.toMatchObject({
    code: "members_exhausted",
    extensions: { limit: 1, used: 3 },
  });
  // Who is a member stays one, and keeps their role.
  expect(await join(tenant, users[0], "owner")).toBe(false);
  await db.withWorkspace(tenant.workspaceId, (tx) =>
    tx.query({ text: "DELETE FROM memberships WHERE user_id = ANY($1)", values: [users] }),
  );
  await expect(join(tenant, late)).rejects.toMatchObject({ code: "members_exhausted" });
  await setSeats(tenant, 2);
  expect(await join(tenant, late)).toBe(true);
});

it("without a limit everybody gets in", async () => {
  const tenant = await createTenant(admin);
  for (let n = 0; n < 30; n++) expect(await join(tenant, await createUser())).toBe(true);
});

it("no role that serves requests can make a member past the count, or pass a seat on", async () => {
  const tenant = await createTenant(admin, { members: 1 });
  const userId = await createUser();
  const values = [tenant.workspaceId, userId];
  for (const text of [
    "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, 'member')",
    "UPDATE memberships SET user_id = $2 WHERE workspace_id = $1",
  ]) {
    const statement = { text, values };
    for (const attempt of [
      () => db.withWorkspace(tenant.workspaceId, (tx) => tx.query(statement)),
      () => db.withPlatform((tx) => tx.query(statement)),
      () => db.ledger(statement),
    ])
      await expect(attempt()).rejects.toMatchObject({ code: "42501" });
  }
});

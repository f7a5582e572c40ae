import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { createAgent, createTenant } from "../test/tenant.ts";
import { findAgent, listAgents, requireAgent, seedAgents } from "./agents.ts";
import { builtInAgents } from "./built-in-agents.ts";

const { db, admin } = await createTestDatabase();

it("a new workspace gets the built-in agents, whole and in the order of their desks", async () => {
  const { workspaceId } = await createTenant(admin, { agentId: "extra" });
  await admin.query("DELETE FROM agents WHERE workspace_id = $1", [workspaceId]);
  await db.withWorkspace(workspaceId, (tx) => seedAgents(tx, { workspaceId, model: "some-model" }));
  expect(await db.withWorkspace(workspaceId, listAgents)).toEqual(
    builtInAgents
      .map((agent) => ({ ...agent, model: "some-model" }))
      .toSorted((a, b) => a.desk - b.desk),
  );
});

it("seeding again leaves an agent as its workspace made it", async () => {
  const { workspaceId, agentId } = await createTenant(admin, { agentId: "gray" });
  await db.withWorkspace(workspaceId, (tx) => seedAgents(tx, { workspaceId, model: "other" }));
  const agent = await db.withWorkspace(workspaceId, (tx) => requireAgent(tx, agentId));
  expect(agent).toMatchObject({ role: "Tester", model: "claude-sonnet-4-5" });
});

it("an agent of another workspace and an unknown one are refused alike", async () => {
  const mine = await createTenant(admin);
  const theirs = await createTenant(admin);
  await createAgent(admin, { workspaceId: theirs.workspaceId, agentId: "foreign" });
  for (const id of ["foreign", "unknown"]) {
    expect(await db.withWorkspace(mine.workspaceId, (tx) => findAgent(tx, id))).toBeUndefined();
    await expect(
      db.withWorkspace(mine.workspaceId, (tx) => requireAgent(tx, id)),
    ).rejects.toMatchObject({ code: "agent_not_found", status: 404 });
  }
});

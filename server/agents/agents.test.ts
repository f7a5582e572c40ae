import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { createTenant } from "../test/tenant.ts";
import { findAgent, listAgents, requireAgent, seedAgents } from "./agents.ts";
import { builtInAgents } from "./built-in-agents.ts";
import { groundRules } from "./ground-rules.ts";

const { db, admin } = await createTestDatabase();

it("each built-in agent is introduced by its full name, and told the rules of the house", () => {
  expect(builtInAgents.map((agent) => agent.systemPrompt.split(",")[0])).toEqual([
    "You are Marcus Bell",
    "You are Sable Chen",
    "You are DeVonte Jackson",
    "You are Yuki Tanaka",
    'You are Graham "Gray" Sutton',
  ]);
  for (const { systemPrompt } of builtInAgents)
    expect(systemPrompt.endsWith(groundRules)).toBe(true);
});

it("no two built-in agents share a desk, a set of tools in the same order, or a voice", () => {
  for (const trait of ["desk", "voice", "tools", "systemPrompt"] as const)
    expect(new Set(builtInAgents.map((agent) => String(agent[trait]))).size).toBe(5);
});

it("seeding again changes nothing, and leaves an agent as its workspace has changed it", async () => {
  const { workspaceId } = await createTenant(admin, { agentId: "gray" });
  const seed = (model: string) =>
    db.withWorkspace(workspaceId, (tx) => seedAgents(tx, { workspaceId, model }));
  await seed("model-a");
  await seed("model-b");
  const agents = await db.withWorkspace(workspaceId, listAgents);
  expect(agents.map((agent) => agent.id).toSorted()).toEqual([
    "devonte",
    "gray",
    "marcus",
    "sable",
    "yuki",
  ]);
  expect(agents.find((agent) => agent.id === "sable")?.model).toBe("model-a");
  expect(agents.find((agent) => agent.id === "gray")?.systemPrompt).toBe("You are a test agent.");
});

it("an agent of another workspace is as unknown as one that does not exist", async () => {
  const own = await createTenant(admin, { agentId: "own" });
  await createTenant(admin, { agentId: "foreign" });
  for (const id of ["foreign", "nobody"]) {
    expect(await db.withWorkspace(own.workspaceId, (tx) => findAgent(tx, id))).toBeUndefined();
    await expect(
      db.withWorkspace(own.workspaceId, (tx) => requireAgent(tx, id)),
    ).rejects.toMatchObject({ code: "agent_not_found", status: 404 });
  }
  const agent = await db.withWorkspace(own.workspaceId, (tx) => requireAgent(tx, "own"));
  expect(agent).toMatchObject({ id: "own", systemPrompt: "You are a test agent.", tools: [] });
});

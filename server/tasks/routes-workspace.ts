import { agentListSchema, usageSchema } from "@guildhall/sdk/contract/workspace.ts";
import { listAgents } from "../agents/agents.ts";
import { principalOf } from "../identity/guard.ts";
import type { Db } from "../platform/db.ts";
import type { Http } from "../platform/http.ts";
import { readUsage } from "./usage.ts";

/** Agents and usage of the workspace. `simulated` tells the page that the dollars are not real. */
export function addWorkspaceRoutes(app: Http, options: { db: Db; simulated: boolean }): void {
  const { db, simulated } = options;

  app.route({
    method: "GET",
    url: "/v1/agents",
    config: { access: "agents:read" },
    schema: {
      operationId: "listAgents",
      tags: ["Workspace"],
      summary: "List the agents of the workspace",
      response: { 200: agentListSchema },
    },
    handler: async (request) => {
      const agents = await db.withWorkspace(principalOf(request).workspaceId, listAgents);
      return {
        data: agents.map((agent) => ({
          id: agent.id,
          name: agent.name,
          role: agent.role,
          traits: [...agent.traits],
          voice: agent.voice,
          tools: [...agent.tools],
          model: agent.model,
          desk: agent.desk,
        })),
      };
    },
  });

  app.route({
    method: "GET",
    url: "/v1/usage",
    config: { access: "usage:read" },
    schema: {
      operationId: "getUsage",
      tags: ["Workspace"],
      summary: "What the workspace used this month, and where it went",
      description:
        "Months and days are UTC. Money is in nano-USD (10^-9 USD), time in milliseconds.",
      response: { 200: usageSchema },
    },
    handler: async (request) => ({
      ...(await db.withWorkspace(principalOf(request).workspaceId, readUsage)),
      simulated,
    }),
  });
}

import {
  agentListSchema,
  limitSchema,
  overageSchema,
  setLimitSchema,
  setOverageSchema,
  usageSchema,
} from "@guildhall/sdk/contract/workspace.ts";
import { listAgents } from "../agents/agents.ts";
import { principalOf } from "../identity/guard.ts";
import type { Db } from "../platform/db.ts";
import type { Http } from "../platform/http.ts";
import type { Limits } from "./limits.ts";
import { callerOf } from "./routes.ts";
import { readUsage } from "./usage.ts";

/** Agents, usage and limits of the workspace. `simulated` tells the page that the dollars are not real. */
export function addWorkspaceRoutes(
  app: Http,
  options: { db: Db; limits: Limits; simulated: boolean },
): void {
  const { db, limits, simulated } = options;

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

  app.route({
    method: "PUT",
    url: "/v1/limits",
    config: { access: "limits:write" },
    schema: {
      operationId: "setLimit",
      tags: ["Workspace"],
      summary: "Set a limit of the workspace, an agent, a task or an API key",
      description:
        "Counts from the next model call on. Raising a limit lets the tasks go on that it paused. `null` removes the limit; what the workspace's plan allows is never exceeded.",
      body: setLimitSchema,
      response: { 200: limitSchema },
    },
    handler: (request) => limits.set({ caller: callerOf(request), body: request.body }),
  });

  app.route({
    method: "PUT",
    url: "/v1/limits/overage",
    config: { access: "limits:write" },
    schema: {
      operationId: "setOverage",
      tags: ["Workspace"],
      summary: "Opt in to use beyond what the plan includes",
      description:
        "The limit in force is what the plan includes plus this much a month. At first it is 0: what is included pauses when it is used up.",
      body: setOverageSchema,
      response: { 200: overageSchema },
    },
    handler: (request) => limits.setOverage({ caller: callerOf(request), body: request.body }),
  });
}

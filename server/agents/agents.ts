import { AppError } from "../platform/errors.ts";
import type { Tx, WorkspaceTx } from "../platform/db.ts";
import { withPrisma } from "../platform/prisma.ts";
import { builtInAgents, type BuiltInAgent } from "./built-in-agents.ts";

/** Who does a task: the persona, its tools and its model. Belongs to one workspace, which may change it. */
export type Agent = BuiltInAgent & {
  /** Exact model id of the price table. */
  model: string;
};

const FIELDS = {
  id: true,
  name: true,
  role: true,
  traits: true,
  voice: true,
  systemPrompt: true,
  tools: true,
  model: true,
  desk: true,
} as const satisfies Record<keyof Agent, true>;

/** The agents of the workspace in the order of their desks. */
export async function listAgents(tx: WorkspaceTx): Promise<Agent[]> {
  return withPrisma(tx, (prisma) =>
    prisma.agent.findMany({
      select: FIELDS,
      where: { workspaceId: tx.workspaceId },
      orderBy: [{ desk: "asc" }, { id: "asc" }],
    }),
  );
}

export async function findAgent(tx: WorkspaceTx, id: string): Promise<Agent | undefined> {
  const agent = await withPrisma(tx, (prisma) =>
    prisma.agent.findUnique({
      select: FIELDS,
      where: { workspaceId_id: { workspaceId: tx.workspaceId, id } },
    }),
  );
  return agent ?? undefined;
}

/** Throws `agent_not_found` (404). */
export async function requireAgent(tx: WorkspaceTx, id: string): Promise<Agent> {
  const agent = await findAgent(tx, id);
  if (agent !== undefined) return agent;
  throw new AppError({
    code: "agent_not_found",
    status: 404,
    publicMessage: "There is no such agent in this workspace.",
    hint: "GET /v1/agents lists the agents.",
  });
}

/**
 * Gives a workspace the built-in agents, all on `model`. An agent that is there already stays as its workspace
 * made it, so that this may run at every start. `tx` is of the app or the platform role.
 */
export async function seedAgents(
  tx: Tx,
  { workspaceId, model }: { workspaceId: string; model: string },
): Promise<void> {
  for (const agent of builtInAgents) {
    await tx.query({
      text: `INSERT INTO agents (workspace_id, id, name, role, traits, voice, system_prompt, tools, model, desk)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (workspace_id, id) DO NOTHING`,
      values: [
        workspaceId,
        agent.id,
        agent.name,
        agent.role,
        agent.traits,
        agent.voice,
        agent.systemPrompt,
        agent.tools,
        model,
        agent.desk,
      ],
    });
  }
}

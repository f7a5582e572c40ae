import { appendAudit } from "../audit/audit.ts";
import { type Db, speakFor, type Tx, type WorkspaceTx } from "../platform/db.ts";
import { invariant } from "../platform/errors.ts";
import { newId } from "../platform/ids.ts";
import { addMember } from "./members.ts";

export type LocalWorkspaceOptions = {
  db: Db;
  /** Sets the limits of its plan; called when the workspace is made, never again. -> what the audit writes down */
  openPlan(tx: WorkspaceTx, plan: "self_hosted"): Promise<unknown>;
  /** Adds the built-in agents; called at every start, so it must leave what is there as it is. */
  seedAgents(tx: Tx, workspaceId: string): Promise<void>;
};

/** Marks the one local owner; unique in the database, and no address that mail could reach. */
const LOCAL_OWNER_EMAIL = "owner@localhost";

async function ensureOwner(tx: Tx): Promise<string> {
  await tx.query({
    text: "INSERT INTO users (id, name, email) VALUES ($1, 'Local owner', $2) ON CONFLICT (email) DO NOTHING",
    values: [newId("usr"), LOCAL_OWNER_EMAIL],
  });
  // The lock lets one of several processes that start together make the workspace.
  const [owner] = await tx.query<{ id: string }>({
    text: "SELECT id FROM users WHERE email = $1 FOR UPDATE",
    values: [LOCAL_OWNER_EMAIL],
  });
  invariant(owner, "the local owner was just made or was there");
  return owner.id;
}

async function createWorkspace(
  tx: Tx,
  userId: string,
  openPlan: LocalWorkspaceOptions["openPlan"],
): Promise<string> {
  const workspaceId = newId("ws");
  const accountId = newId("ba");
  await tx.query({
    text: "INSERT INTO billing_accounts (id, name) VALUES ($1, 'Local')",
    values: [accountId],
  });
  await tx.query({
    text: "INSERT INTO workspaces (workspace_id, name, billing_account_id, plan) VALUES ($1, 'Local', $2, 'self_hosted')",
    values: [workspaceId, accountId],
  });
  const own = await speakFor(tx, workspaceId);
  const limits = await openPlan(own, "self_hosted");
  await addMember(own, { userId, role: "owner" });
  await appendAudit(own, {
    actor: "system",
    action: "workspace.created",
    target: workspaceId,
    origin: "local",
    after: { name: "Local", plan: "self_hosted", owner: userId, limits },
  });
  return workspaceId;
}

/** The workspace of the person who runs this installation, made at the first start: account, owner, limits, agents. */
export async function ensureLocalWorkspace(
  options: LocalWorkspaceOptions,
): Promise<{ workspaceId: string; userId: string }> {
  return options.db.withPlatform(async (tx) => {
    const userId = await ensureOwner(tx);
    const [existing] = await tx.query<{ workspace_id: string }>({
      text: "SELECT workspace_id FROM memberships WHERE user_id = $1 AND role = 'owner' ORDER BY created_at LIMIT 1",
      values: [userId],
    });
    const workspaceId =
      existing?.workspace_id ?? (await createWorkspace(tx, userId, options.openPlan));
    await options.seedAgents(tx, workspaceId);
    return { workspaceId, userId };
  });
}

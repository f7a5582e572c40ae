import { appendPlatformAudit } from "../audit/audit.ts";
import type { Db, Tx } from "../platform/db.ts";
import { invariant } from "../platform/errors.ts";
import { newId } from "../platform/ids.ts";

/** A limit of a new workspace; amount: nano-USD or milliseconds or a count by meter, null is no limit. */
export type WorkspaceLimit = { meter: string; level: "workspace"; amount: number | null };

export type LocalWorkspaceOptions = {
  db: Db;
  /** Of the plan, with `model_cost` as the operator set it. Used when the workspace is made, never again. */
  limits: readonly WorkspaceLimit[];
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
  limits: readonly WorkspaceLimit[],
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
  await tx.query({
    text: "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, 'owner')",
    values: [workspaceId, userId],
  });
  await tx.query({
    text: `INSERT INTO limits (workspace_id, meter, level, scope_id, version, amount, changed_by)
      SELECT $1, l.meter, l.level, $1, 1, l.amount, 'system' FROM jsonb_to_recordset($2::jsonb) AS l(meter text, level text, amount bigint)`,
    values: [workspaceId, JSON.stringify(limits)],
  });
  await appendPlatformAudit(tx, workspaceId, {
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
      existing?.workspace_id ?? (await createWorkspace(tx, userId, options.limits));
    await options.seedAgents(tx, workspaceId);
    return { workspaceId, userId };
  });
}

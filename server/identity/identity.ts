import type { Me } from "@guildhall/sdk/contract/workspace.ts";
import type { Clock } from "../platform/clock.ts";
import type { Db } from "../platform/db.ts";
import { invariant } from "../platform/errors.ts";
import type { Notices } from "../platform/notices.ts";
import type { Secret } from "../platform/secret.ts";
import { createAccessTokens } from "./access-tokens.ts";
import { type ApiKeys, createApiKeys } from "./api-keys.ts";
import { unauthenticated } from "./errors.ts";
import { createMembers } from "./members.ts";
import { type Principal, scopesOf } from "./principal.ts";
import { createSessions, type Sessions } from "./sessions.ts";
import { createSignInLink } from "./sign-in-links.ts";

export type Identity = {
  /**
   * Whom a credential (access token or API key, without `Bearer`) speaks for now. Throws `unauthenticated` (401) for
   * everything else, run tokens included.
   */
  authenticate(credential: string | undefined): Promise<Principal>;
  /** A one-time link token for a user, valid for 10 minutes; earlier links of the user end. */
  createSignInLink(userId: string): Promise<{ token: string; validForMs: number }>;
  /** Names for `GET /v1/me`; who runs the model is not identity's business. */
  describe(principal: Principal): Promise<Omit<Me, "model" | "gateway">>;
  sessions: Sessions;
  apiKeys: ApiKeys;
};

async function nameOf(db: Db, principal: Principal): Promise<string> {
  const [row] =
    principal.kind === "user"
      ? await db.withPlatform((tx) =>
          tx.query<{ name: string }>({
            text: "SELECT name FROM users WHERE id = $1",
            values: [principal.id],
          }),
        )
      : await db.withWorkspace(principal.workspaceId, (tx) =>
          tx.query<{ name: string }>({
            text: "SELECT name FROM api_keys WHERE workspace_id = current_workspace() AND id = $1",
            values: [principal.id],
          }),
        );
  return row?.name ?? principal.id;
}

/**
 * Users, sessions and API keys. `rootSecret` is the installation's; each use derives a key of its own from it. With
 * `notices`, what is revoked here is refused at once in the other processes, too; without, within 2 s.
 */
export function createIdentity(options: {
  db: Db;
  clock: Clock;
  rootSecret: Secret;
  notices?: Pick<Notices, "on" | "ring">;
}): Identity {
  const { db } = options;
  const accessTokens = createAccessTokens(options);
  const members = createMembers(options);
  const apiKeys = createApiKeys(options);

  async function authenticateUser(token: string): Promise<Principal | undefined> {
    const claims = await accessTokens.verify(token);
    if (!claims) return undefined;
    const membership = await members.find(claims.workspaceId, claims.userId);
    if (!membership || membership.sessionVersion !== claims.sessionVersion) return undefined;
    return {
      kind: "user",
      id: claims.userId,
      userId: claims.userId,
      workspaceId: claims.workspaceId,
      role: membership.role,
      scopes: scopesOf(membership.role),
      actor: `user:${claims.userId}`,
    };
  }

  return {
    async authenticate(credential) {
      if (credential === undefined || credential === "")
        throw unauthenticated("no credential was sent");
      const principal = credential.startsWith("ghk_")
        ? await apiKeys.verify(credential)
        : await authenticateUser(credential);
      if (!principal) throw unauthenticated("the credential is not valid");
      return principal;
    },
    createSignInLink: (userId) => createSignInLink(db, userId),
    async describe(principal) {
      const [workspace] = await db.withWorkspace(principal.workspaceId, (tx) =>
        tx.query<{ name: string; plan: string; suspended: string | null }>({
          text: "SELECT name, plan, suspended FROM workspaces WHERE workspace_id = current_workspace()",
          values: [],
        }),
      );
      invariant(workspace, "a principal's workspace exists");
      return {
        workspace: { id: principal.workspaceId, ...workspace },
        actor: { kind: principal.kind, id: principal.id, name: await nameOf(db, principal) },
        role: principal.role,
        scopes: [...principal.scopes],
      };
    },
    sessions: createSessions({ ...options, accessTokens, members }),
    apiKeys,
  };
}

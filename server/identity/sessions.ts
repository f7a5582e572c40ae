import { appendPlatformAudit } from "../audit/audit.ts";
import type { Clock } from "../platform/clock.ts";
import type { Db, Tx } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import type { Secret } from "../platform/secret.ts";
import { ACCESS_TOKEN_MS, type AccessTokens } from "./access-tokens.ts";
import { sessionEnded, signInLinkInvalid } from "./errors.ts";
import { endAccessTokens, type Members, type Membership, membershipsOf } from "./members.ts";
import { createRefreshTokens, type RefreshToken } from "./refresh-tokens.ts";
import { takeSignInLink } from "./sign-in-links.ts";

export type Session = {
  /** For the refresh cookie; the page's scripts never see it. */
  refresh: RefreshToken;
  accessToken: string;
  expiresInMs: number;
  workspaceId: string;
};

export type Sessions = {
  /** Signs in by a one-time link. Throws `sign_in_link_invalid` (401). */
  exchange(request: { token: string; origin: string }): Promise<Session>;
  /**
   * A fresh access token for one of the user's workspaces (the first one when none is named), and the next refresh
   * token. Throws `session_ended` (401) and `workspace_not_found` (404).
   */
  refresh(request: {
    secret: string;
    workspaceId: string | undefined;
    origin: string;
  }): Promise<Session>;
  /** Ends the session; the user's access tokens end with it. A session that is unknown or over is no error. */
  logout(request: { secret: string; origin: string }): Promise<void>;
};

function workspaceNotFound(): AppError {
  return new AppError({
    code: "workspace_not_found",
    status: 404,
    publicMessage: "You have no such workspace.",
    hint: "Leave workspace_id out to get your first one.",
    fields: [{ field: "workspace_id", message: "You have no such workspace." }],
  });
}

export function createSessions(options: {
  db: Db;
  clock: Clock;
  rootSecret: Secret;
  accessTokens: AccessTokens;
  members: Members;
}): Sessions {
  const { db, accessTokens, members } = options;
  const refreshTokens = createRefreshTokens(options);

  async function open(refresh: RefreshToken, membership: Membership): Promise<Session> {
    const accessToken = await accessTokens.issue({ ...membership, userId: refresh.userId });
    return {
      refresh,
      accessToken,
      expiresInMs: ACCESS_TOKEN_MS,
      workspaceId: membership.workspaceId,
    };
  }

  /** Revokes a family and the user's access tokens, with a line in the audit of each of the user's workspaces. */
  async function end(
    tx: Tx,
    session: { userId: string; familyId: string },
    line: { actor: string; action: string; origin: string },
  ): Promise<void> {
    await refreshTokens.revoke(tx, session.familyId);
    await endAccessTokens(tx, session.userId);
    const workspaceIds = (await membershipsOf(tx, session.userId)).map((m) => m.workspaceId);
    // One order for everybody: each line locks its workspace's chain until commit.
    for (const workspaceId of workspaceIds.toSorted())
      await appendPlatformAudit(tx, workspaceId, { ...line, target: session.familyId });
  }

  async function exchange(request: { token: string; origin: string }): Promise<Session> {
    const session = await db.withPlatform(async (tx) => {
      const userId = await takeSignInLink(tx, request.token);
      if (userId === undefined) return undefined;
      const [membership] = await membershipsOf(tx, userId);
      if (!membership) return undefined;
      const refresh = await refreshTokens.start(tx, userId);
      await appendPlatformAudit(tx, membership.workspaceId, {
        actor: `user:${userId}`,
        action: "session.started",
        target: refresh.familyId,
        origin: request.origin,
      });
      return { refresh, membership };
    });
    if (!session) throw signInLinkInvalid();
    return open(session.refresh, session.membership);
  }

  async function refresh(request: Parameters<Sessions["refresh"]>[0]): Promise<Session> {
    const outcome = await db.withPlatform(async (tx) => {
      const rotated = await refreshTokens.rotate(tx, request.secret);
      if (rotated.status === "ended") return { error: sessionEnded("unknown, ended or revoked") };
      if (rotated.status === "reused") {
        const line = { actor: `user:${rotated.userId}`, action: "session.reused" };
        await end(tx, rotated, { ...line, origin: request.origin });
        // Returned, not thrown: the revocation must be committed.
        return { error: sessionEnded("a replaced refresh token came again"), revoked: true };
      }
      const memberships = await membershipsOf(tx, rotated.token.userId);
      const wanted = request.workspaceId ?? memberships[0]?.workspaceId;
      const membership = memberships.find((m) => m.workspaceId === wanted);
      // Thrown: the token that was presented stays the current one.
      if (!membership) throw workspaceNotFound();
      return { token: rotated.token, membership };
    });
    if ("error" in outcome) {
      if (outcome.revoked) members.forget();
      throw outcome.error;
    }
    return open(outcome.token, outcome.membership);
  }

  async function logout(request: { secret: string; origin: string }): Promise<void> {
    await db.withPlatform(async (tx) => {
      const session = await refreshTokens.find(tx, request.secret);
      if (!session) return;
      const line = { actor: `user:${session.userId}`, action: "session.ended" };
      await end(tx, session, { ...line, origin: request.origin });
    });
    members.forget();
  }

  return { exchange, refresh, logout };
}

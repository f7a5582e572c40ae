import { jwtVerify, SignJWT } from "jose";
import { z } from "zod";
import { roles, type Role } from "@guildhall/sdk/contract/workspace.ts";
import type { Clock } from "../platform/clock.ts";
import { deriveSecret, type Secret } from "../platform/secret.ts";

/** What an access token says: this user, in this workspace, as of this session version. */
export type AccessClaims = {
  userId: string;
  workspaceId: string;
  role: Role;
  sessionVersion: number;
};

export const ACCESS_TOKEN_MS = 15 * 60_000;
/** Two machines' clocks may differ by this much; seconds. */
const LEEWAY_S = 30;
const ISSUER = "guildhall";
/** Run tokens and API keys are no JWTs at all; a JWT for anything else has another audience. */
const AUDIENCE = "guildhall:user";
const ALGORITHM = "HS256";
const TYPE = "at+jwt";

const payloadSchema = z.object({
  sub: z.string().regex(/^usr_[0-9a-z]{1,40}$/),
  ws: z.string().regex(/^ws_[0-9a-z]{1,40}$/),
  role: z.enum(roles),
  sv: z.int(),
});

export type AccessTokens = {
  issue(claims: AccessClaims): Promise<string>;
  /** Undefined for whatever is not a token of ours that is valid now. */
  verify(token: string): Promise<AccessClaims | undefined>;
};

/**
 * Access tokens: JWT (RFC 7519, type `at+jwt` of RFC 9068), HS256 with a key of their own, 15 minutes. The algorithm
 * is fixed and no header of the token chooses a key.
 */
export function createAccessTokens(options: { rootSecret: Secret; clock: Clock }): AccessTokens {
  const key = Buffer.from(deriveSecret(options.rootSecret, "access-token"), "base64url");

  async function issue(claims: AccessClaims): Promise<string> {
    const issuedAt = Math.floor(options.clock.now().getTime() / 1_000);
    return new SignJWT({
      ws: claims.workspaceId,
      role: claims.role,
      sv: claims.sessionVersion,
    })
      .setProtectedHeader({ alg: ALGORITHM, typ: TYPE })
      .setSubject(claims.userId)
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + ACCESS_TOKEN_MS / 1_000)
      .sign(key);
  }

  async function verify(token: string): Promise<AccessClaims | undefined> {
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: [ALGORITHM],
        typ: TYPE,
        issuer: ISSUER,
        audience: AUDIENCE,
        requiredClaims: ["sub", "iat", "exp"],
        maxTokenAge: ACCESS_TOKEN_MS / 1_000,
        clockTolerance: LEEWAY_S,
        currentDate: options.clock.now(),
      });
      const { sub, ws, role, sv } = payloadSchema.parse(payload);
      return { userId: sub, workspaceId: ws, role, sessionVersion: sv };
    } catch {
      // Whatever is wrong with it, it is no credential; the reasons differ only for who made the token.
      return undefined;
    }
  }

  return { issue, verify };
}

import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import {
  accessTokenSchema,
  exchangeLinkSchema,
  issueTokenSchema,
} from "@guildhall/sdk/contract/workspace.ts";
import type { Config } from "../platform/config.ts";
import type { Http } from "../platform/http.ts";
import { sessionEnded } from "./errors.ts";
import { requireSameOrigin } from "./guard.ts";
import type { Identity } from "./identity.ts";
import type { Session } from "./sessions.ts";

const PATH = "/v1/auth";

/**
 * The refresh cookie goes to `/v1/auth` only, so no other request carries it; that rules out the prefix `__Host-`,
 * which demands the path `/`. Over https it has the prefix `__Secure-`, so no plain page of the host can set it.
 */
function refreshCookie(publicUrl: string | undefined) {
  const secure = publicUrl?.startsWith("https://") ?? false;
  const name = secure ? "__Secure-guildhall_refresh" : "guildhall_refresh";
  const attributes = { path: PATH, httpOnly: true, sameSite: "strict", secure } as const;
  return {
    read: (request: FastifyRequest): string | undefined => request.cookies[name],
    set: (reply: FastifyReply, session: Session): void =>
      void reply.setCookie(name, session.refresh.secret, {
        ...attributes,
        maxAge: Math.floor(session.refresh.endsInMs / 1_000),
      }),
    clear: (reply: FastifyReply): void => void reply.clearCookie(name, attributes),
  };
}

const answerOf = (session: Session): z.infer<typeof accessTokenSchema> => ({
  access_token: session.accessToken,
  expires_in_ms: session.expiresInMs,
  workspace_id: session.workspaceId,
});

/** Sign-in by one-time link, access tokens by refresh cookie, sign-out. */
export function addAuthRoutes(
  app: Http,
  options: { identity: Identity; config: Pick<Config, "PUBLIC_URL"> },
): void {
  const { sessions } = options.identity;
  const cookie = refreshCookie(options.config.PUBLIC_URL);
  const config = { access: "public", policy: "sign_in" } as const;
  const onRequest = async (request: FastifyRequest): Promise<void> =>
    requireSameOrigin(request, options.config.PUBLIC_URL);

  app.route({
    method: "POST",
    url: `${PATH}/exchange`,
    config,
    onRequest,
    schema: {
      operationId: "exchangeSignInLink",
      tags: ["Sign-in"],
      summary: "Sign in by a one-time link",
      description: "Uses the link up, sets the refresh cookie and answers an access token.",
      body: exchangeLinkSchema,
      response: { 200: accessTokenSchema },
    },
    handler: async (request, reply) => {
      const { clientAddress: origin, body } = request;
      const session = await sessions.exchange({ token: body.token, origin });
      cookie.set(reply, session);
      return answerOf(session);
    },
  });

  app.route({
    method: "POST",
    url: `${PATH}/token`,
    config,
    onRequest,
    schema: {
      operationId: "issueAccessToken",
      tags: ["Sign-in"],
      summary: "Get a fresh access token by the refresh cookie",
      description:
        "Rotates the refresh cookie. A cookie that was replaced more than 10 seconds ago ends its session.",
      // Without a body the framework hands null to the schema.
      body: issueTokenSchema.nullish(),
      response: { 200: accessTokenSchema },
    },
    handler: async (request, reply) => {
      const secret = cookie.read(request);
      if (secret === undefined) throw sessionEnded("no refresh cookie");
      const workspaceId = request.body?.workspace_id;
      try {
        const origin = request.clientAddress;
        const session = await sessions.refresh({ secret, workspaceId, origin });
        cookie.set(reply, session);
        return answerOf(session);
      } catch (error) {
        // The cookie of an ended session would only be refused again.
        if (error instanceof Error && "status" in error && error.status === 401)
          cookie.clear(reply);
        throw error;
      }
    },
  });

  app.route({
    method: "POST",
    url: `${PATH}/logout`,
    config,
    onRequest,
    schema: {
      operationId: "signOut",
      tags: ["Sign-in"],
      summary: "End the session",
      description: "Ends the session of the refresh cookie and the user's access tokens.",
      response: { 204: z.undefined().describe("Signed out") },
    },
    handler: async (request, reply) => {
      const secret = cookie.read(request);
      if (secret !== undefined) await sessions.logout({ secret, origin: request.clientAddress });
      cookie.clear(reply);
      return reply.code(204).send();
    },
  });
}

import { z } from "zod";
import {
  apiKeyListSchema,
  createApiKeySchema,
  createdApiKeySchema,
  type Me,
  meSchema,
} from "@guildhall/sdk/contract/workspace.ts";
import { AppError } from "../platform/errors.ts";
import type { Http } from "../platform/http.ts";
import { principalOf } from "./guard.ts";
import type { Identity } from "./identity.ts";
import type { Principal } from "./principal.ts";

/**
 * A new key has at most its maker's own rights. One that a key makes cannot make keys in turn, so that revoking a maker
 * ends the making.
 */
function requireMaker(principal: Principal, wanted: readonly string[]): void {
  const passedOn = principal.scopes.filter(
    (scope) => principal.kind === "user" || scope !== "keys:write",
  );
  const missing = wanted.filter((scope) => !passedOn.some((own) => own === scope));
  if (missing.length === 0) return;
  throw new AppError({
    code: "scope_beyond_maker",
    status: 403,
    publicMessage: `You cannot pass on ${missing.join(", ")}.`,
    hint: "A new key can have only scopes that its maker has; keys:write is passed on only by a signed-in person.",
    fields: [{ field: "scopes", message: `not yours to give: ${missing.join(", ")}` }],
  });
}

function addKeyRoutes(app: Http, identity: Identity): void {
  app.route({
    method: "GET",
    url: "/v1/api-keys",
    config: { access: "keys:write" },
    schema: {
      operationId: "listApiKeys",
      tags: ["Account"],
      summary: "List the API keys of the workspace",
      description: "Newest first, revoked ones too. The keys' texts are not stored.",
      response: { 200: apiKeyListSchema },
    },
    handler: async (request) => ({
      data: await identity.apiKeys.list(principalOf(request).workspaceId),
    }),
  });

  app.route({
    method: "POST",
    url: "/v1/api-keys",
    config: { access: "keys:write" },
    schema: {
      operationId: "createApiKey",
      tags: ["Account"],
      summary: "Make an API key",
      description:
        "The answer is the only time that the key is shown. Its rights are its scopes, and never more than its maker has at the time of use.",
      body: createApiKeySchema,
      response: { 201: createdApiKeySchema },
    },
    handler: async (request, reply) => {
      const principal = principalOf(request);
      const { name, scopes, expires_at: expiresAt } = request.body;
      requireMaker(principal, scopes);
      const key = await identity.apiKeys.create({
        workspaceId: principal.workspaceId,
        createdBy: principal.userId,
        actor: principal.actor,
        origin: request.clientAddress,
        name,
        scopes,
        expiresAt,
      });
      return reply.code(201).send(key);
    },
  });

  app.route({
    method: "DELETE",
    url: "/v1/api-keys/:id",
    config: { access: "keys:write" },
    schema: {
      operationId: "revokeApiKey",
      tags: ["Account"],
      summary: "Revoke an API key",
      description:
        "The key is refused within 5 seconds everywhere. Revoking twice is the same as once.",
      params: z.object({ id: z.string() }),
      response: { 204: z.undefined().describe("Revoked") },
    },
    handler: async (request, reply) => {
      const { workspaceId, actor } = principalOf(request);
      const { id } = request.params;
      await identity.apiKeys.revoke({ workspaceId, id, actor, origin: request.clientAddress });
      return reply.code(204).send();
    },
  });
}

/** `GET /v1/me` and the API keys of the workspace. */
export function addAccountRoutes(
  app: Http,
  options: { identity: Identity } & Pick<Me, "model" | "gateway">,
): void {
  const { identity, model, gateway } = options;
  addKeyRoutes(app, identity);

  app.route({
    method: "GET",
    url: "/v1/me",
    config: { access: "signed_in" },
    schema: {
      operationId: "getMe",
      tags: ["Account"],
      summary: "Whom this credential speaks for, and what it may do",
      response: { 200: meSchema },
    },
    handler: async (request) => ({
      ...(await identity.describe(principalOf(request))),
      model,
      gateway,
    }),
  });
}

import type { FastifyReply, FastifyRequest } from "fastify";
import type { Scope } from "@guildhall/sdk/contract/workspace.ts";
import { invariant } from "../platform/errors.ts";
import type { Http } from "../platform/http.ts";
import { foreignOrigin, scopeMissing } from "./errors.ts";
import type { Identity } from "./identity.ts";
import type { Principal } from "./principal.ts";

/** Who may call a route: anybody, everybody with a valid credential, or those with a scope. */
export type Access = "public" | "signed_in" | Scope;

declare module "fastify" {
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    principal: Principal | null;
    /**
     * Looks again whether the credential may call this route: for answers that go on for long. Throws as the guard does
     * (`unauthenticated` 401, `scope_missing` 403), within seconds after a key was revoked or a member removed.
     */
    checkAccess(): Promise<void>;
  }
}

/** The credential of `Authorization: Bearer …`; credentials in the address are not read anywhere. */
function bearerOf(request: FastifyRequest): string | undefined {
  const [scheme, credential, ...rest] = (request.headers.authorization ?? "").split(" ");
  return scheme?.toLowerCase() === "bearer" && rest.length === 0 ? credential : undefined;
}

/** Whom this request speaks for; only in routes that are not public. */
export function principalOf(request: FastifyRequest): Principal {
  invariant(request.principal, "the route is guarded");
  return request.principal;
}

/** Counts a request that may be made. Throws to refuse it; may set headers of the answer either way. */
export type RequestCounter = (principal: Principal, reply: FastifyReply) => Promise<void>;

/**
 * Guards every route below `/v1/`. Each says in `config.access` who may call it, and one that does not cannot be
 * registered: forgetting is not possible. The credential is checked before anything else of the request is read.
 */
export function guardRoutes(app: Http, identity: Pick<Identity, "authenticate">): void {
  app.decorateRequest("principal", null);
  app.decorateRequest("checkAccess", async function (this: FastifyRequest) {
    const { access } = this.routeOptions.config;
    if (access === undefined || access === "public") return;
    const principal = await identity.authenticate(bearerOf(this));
    if (access !== "signed_in" && !principal.scopes.includes(access)) throw scopeMissing(access);
    this.principal = principal;
  });
  app.addHook("onRoute", (route) => {
    const guarded = !route.url.startsWith("/v1/") || route.config?.access !== undefined;
    invariant(guarded, `${route.url} says who may call it`);
  });
  app.addHook("onRequest", (request) => request.checkAccess());
}

/**
 * Counts each request whose principal may make it, before anything else of it is read. Register after `guardRoutes` and
 * after limits that refuse requests for other reasons: what those refuse uses nothing up.
 */
export function countRequests(app: Http, count: RequestCounter): void {
  app.addHook("onRequest", async (request, reply) => {
    if (request.principal !== null) await count(request.principal, reply);
  });
}

/**
 * For routes that a cookie authenticates: refuses what another site's page sends (RFC 6265bis leaves gaps that
 * SameSite alone does not close). Programs send neither header and have no cookie to abuse.
 */
export function requireSameOrigin(request: FastifyRequest, publicUrl: string | undefined): void {
  const site = request.headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin") throw foreignOrigin();
  const { origin } = request.headers;
  if (origin === undefined) return;
  const own = publicUrl === undefined ? undefined : new URL(publicUrl).origin;
  const asked = URL.canParse(origin) ? new URL(origin) : undefined;
  if (asked === undefined || (asked.origin !== own && asked.host !== request.headers.host))
    throw foreignOrigin();
}

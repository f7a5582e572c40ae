import { expect, test } from "vitest";
import { type Scope, scopes } from "@guildhall/sdk/contract/workspace.ts";
import { newId, newSecret } from "./platform/ids.ts";
import { formatRunToken } from "./platform/run-token.ts";
import { expectProblem, startTestApi } from "./test/api.ts";
import { createClaimedRun, createTenant, type Tenant } from "./test/tenant.ts";

const api = await startTestApi();
const { admin, identity, send } = api;

/** Who may call each route. A route without a line here fails the first test. */
const access: Readonly<Record<string, Scope | "signed_in" | "public">> = {
  "POST /v1/auth/exchange": "public",
  "POST /v1/auth/token": "public",
  "POST /v1/auth/logout": "public",
  "GET /v1/me": "signed_in",
  "GET /v1/api-keys": "keys:write",
  "POST /v1/api-keys": "keys:write",
  "DELETE /v1/api-keys/{id}": "keys:write",
  "POST /v1/tasks": "tasks:write",
  "GET /v1/tasks": "tasks:read",
  "GET /v1/tasks/{id}": "tasks:read",
  "GET /v1/tasks/{id}/events": "tasks:read",
  "GET /v1/tasks/{id}/events/stream": "tasks:read",
  "POST /v1/tasks/{id}/cancel": "tasks:write",
  "POST /v1/tasks/{id}/replay": "tasks:write",
  "GET /v1/tasks/{id}/artifacts": "tasks:read",
  "POST /v1/questions/{id}/answer": "tasks:write",
  "POST /v1/uploads": "tasks:write",
  "GET /v1/artifacts/{id}/content": "tasks:read",
  "GET /v1/agents": "agents:read",
  "GET /v1/usage": "usage:read",
  "GET /v1/plan": "usage:read",
  "GET /v1/limits": "usage:read",
  "POST /v1/limits/simulate": "usage:read",
  "PUT /v1/limits": "limits:write",
  "GET /v1/alerts": "usage:read",
  "POST /v1/alerts/read": "usage:read",
  "PUT /v1/limits/overage": "limits:write",
};
const guarded = Object.entries(access).filter(([, needed]) => needed !== "public");

/** What each role may, beyond which no credential of the role gets. */
const roleScopes: Readonly<Record<string, readonly Scope[]>> = {
  viewer: ["tasks:read", "agents:read", "usage:read"],
  member: ["tasks:read", "agents:read", "usage:read", "tasks:write", "models:invoke"],
  admin: scopes,
  owner: scopes,
};

/** Calls a route with what any of them could take; whether it is acceptable is not the point here. */
function call(route: string, key: string | undefined): Promise<Response> {
  const [method = "", path = ""] = route.split(" ");
  const url = path.replace("{id}", "task_00000000000000000000000000");
  return send(method, url, { key, ...(method === "GET" ? {} : { json: {} }) });
}
async function userToken(tenant: Tenant): Promise<string> {
  const { token } = await identity.createSignInLink(tenant.userId);
  return (await identity.sessions.exchange({ token, origin: "test" })).accessToken;
}

test("the document lists exactly the routes whose access is decided here, and says the same", async () => {
  const document = (await (await send("GET", "/v1/openapi.json")).json()) as {
    paths: Record<string, Record<string, { "x-access": string; security: unknown[] }>>;
  };
  const listed = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => [
      `${method.toUpperCase()} ${path}`,
      operation["x-access"],
      operation.security.length > 0,
    ]),
  );
  const expected = Object.entries(access).map(([route, needed]) => [
    route,
    needed,
    needed !== "public",
  ]);
  const byRoute = (a: unknown[], b: unknown[]) => String(a[0]).localeCompare(String(b[0]));
  expect(listed.toSorted(byRoute)).toEqual(expected.toSorted(byRoute));
});

test.each(guarded)("%s refuses whoever shows no credential that is valid here", async (route) => {
  const tenant = await createTenant(admin);
  const run = await createClaimedRun(admin, tenant);
  const runToken = formatRunToken({ ...run, secret: newSecret() });
  const foreignKey = `ghk_${tenant.workspaceId}.${newId("key")}.${newSecret()}`;
  for (const key of [undefined, "", "x", run.token, runToken, foreignKey, "a.b.c", "null"]) {
    const response = await call(route, key);
    expect(response.headers.get("www-authenticate")).toBe('Bearer realm="guildhall"');
    await expectProblem(response, 401, "unauthenticated");
  }
});

test.each(guarded.filter(([, needed]) => needed !== "signed_in"))(
  "%s refuses a key that has every scope but its own",
  async (route, needed) => {
    const tenant = await createTenant(admin);
    const key = await api.keyWith(
      tenant,
      scopes.filter((scope) => scope !== needed),
    );
    const problem = await expectProblem(await call(route, key), 403, "scope_missing");
    expect(problem.detail).toContain(needed);
  },
);

test.each(Object.keys(roleScopes))(
  "a %s may call what the role has, and nothing else",
  async (role) => {
    const tenant = await createTenant(admin);
    await admin.query("UPDATE memberships SET role = $2 WHERE user_id = $1", [tenant.userId, role]);
    const token = await userToken(tenant);
    for (const [route, needed] of guarded) {
      const allowed =
        needed === "signed_in" || roleScopes[role]?.some((scope) => scope === needed) === true;
      const { status } = await call(route, token);
      expect({ route, refused: status === 403 }).toEqual({ route, refused: !allowed });
      expect(status).not.toBe(401);
    }
  },
);

test("a role that changes counts from the next seconds on, whatever the token says", async () => {
  const tenant = await createTenant(admin);
  const token = await userToken(tenant);
  await admin.query("UPDATE memberships SET role = 'viewer' WHERE user_id = $1", [tenant.userId]);
  await expect
    .poll(async () => (await call("POST /v1/tasks", token)).status, { timeout: 5_000 })
    .toBe(403);
});

test("a body or a query that names a workspace or a user opens nothing", async () => {
  const theirs = await createTenant(admin);
  const json = { workspace_id: theirs.workspaceId, user_id: theirs.userId };
  await expectProblem(await send("POST", "/v1/tasks", { json }), 401, "unauthenticated");
  const { key } = await api.caller();
  const response = await send("POST", "/v1/tasks", {
    key,
    json: { ...json, agent: "gray", prompt: "a" },
  });
  await expectProblem(response, 400, "validation_failed");
  const query = await send("GET", `/v1/tasks?workspace_id=${theirs.workspaceId}`, { key });
  await expectProblem(query, 400, "validation_failed");
});

test("texts of one workspace never come out of another, by any route that reads", async () => {
  const canary = `canary${newSecret()}`;
  const theirs = await api.caller();
  const created = await send("POST", "/v1/tasks", {
    key: theirs.key,
    json: { agent: "gray", prompt: canary, title: canary },
  });
  const { id } = (await created.json()) as { id: string };
  await admin.query("UPDATE agents SET name = $2, role = $2, voice = $2 WHERE workspace_id = $1", [
    theirs.workspaceId,
    canary,
  ]);
  await admin.query("UPDATE api_keys SET name = $2 WHERE workspace_id = $1", [
    theirs.workspaceId,
    canary,
  ]);
  const mine = await api.caller();
  const reads = Object.keys(access).filter((route) => route.startsWith("GET "));
  for (const route of reads) {
    const url = route.slice("GET ".length).replace("{id}", id);
    const text = await (await send("GET", url, { key: mine.key })).text();
    expect({ route, leaks: text.includes(canary) }).toEqual({ route, leaks: false });
  }
});

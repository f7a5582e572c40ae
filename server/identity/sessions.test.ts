import { expect, test } from "vitest";
import { accessTokenSchema, meSchema } from "@guildhall/sdk/contract/workspace.ts";
import { verifyAudit } from "../audit/audit.ts";
import { expectProblem, startTestApi } from "../test/api.ts";
import { createTenant, type Tenant } from "../test/tenant.ts";

const api = await startTestApi();
const { admin, base, db, identity, send } = api;

/** Moves the database's clock, which sessions and links end by. */
const setClock = (offset: string) =>
  admin.query(
    `CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$SELECT clock_timestamp() + interval '${offset}'$$`,
  );

type Browser = { cookie: string; accessToken: string };

function cookieOf(response: Response): string {
  const [header = ""] = response.headers.getSetCookie();
  return header.split(";", 1)[0] ?? "";
}
async function sessionOf(response: Response): Promise<Browser> {
  expect(response.status).toBe(200);
  const body = accessTokenSchema.strict().parse(await response.json());
  return { cookie: cookieOf(response), accessToken: body.access_token };
}
const exchange = (token: string, headers: Record<string, string> = {}) =>
  send("POST", "/v1/auth/exchange", { json: { token }, headers });
const refresh = (cookie: string, json?: object, headers: Record<string, string> = {}) =>
  send("POST", "/v1/auth/token", {
    headers: { cookie, ...headers },
    ...(json === undefined ? {} : { json }),
  });
const me = (accessToken: string) => send("GET", "/v1/me", { key: accessToken });

async function signIn(tenant: Tenant): Promise<Browser> {
  const { token } = await identity.createSignInLink(tenant.userId);
  return sessionOf(await exchange(token));
}
async function auditOf({ workspaceId }: Tenant): Promise<string[]> {
  expect(await db.withWorkspace(workspaceId, verifyAudit)).toMatchObject({ ok: true });
  const { rows } = await admin.query<{ action: string }>(
    "SELECT action FROM audit_lines WHERE workspace_id = $1 ORDER BY seq",
    [workspaceId],
  );
  return rows.map((row) => row.action);
}

test("a link signs in: an access token for the page, a cookie that its scripts cannot read", async () => {
  const tenant = await createTenant(admin);
  const { token, validForMs } = await identity.createSignInLink(tenant.userId);
  expect(validForMs).toBe(600_000);
  const response = await exchange(token);
  const [cookie = ""] = response.headers.getSetCookie();
  expect(cookie).toMatch(/^guildhall_refresh=[\w-]{43}; /);
  expect(cookie).toContain("Path=/v1/auth");
  expect(cookie).toContain("HttpOnly");
  expect(cookie).toContain("SameSite=Strict");
  expect(cookie).not.toContain("Secure");
  expect(response.headers.get("cache-control")).toBe("no-store");
  const body = accessTokenSchema.parse(await response.json());
  expect(body).toMatchObject({ expires_in_ms: 900_000, workspace_id: tenant.workspaceId });

  const answer = await me(body.access_token);
  expect(meSchema.strict().parse(await answer.json())).toMatchObject({
    workspace: { id: tenant.workspaceId, name: "Test workspace", plan: "self_hosted" },
    actor: { kind: "user", id: tenant.userId, name: "Test user" },
    role: "owner",
    model: { simulated: true, base_url: "http://model.test" },
    gateway: { base_url: "http://gateway.test" },
  });
  expect(await auditOf(tenant)).toEqual(["session.started"]);
});

test("a link works once, also when it is used twice at the same moment", async () => {
  const { userId } = await createTenant(admin);
  const { token } = await identity.createSignInLink(userId);
  const answers = await Promise.all([exchange(token), exchange(token), exchange(token)]);
  expect(answers.map((answer) => answer.status).toSorted((a, b) => a - b)).toEqual([200, 401, 401]);
  await expectProblem(await exchange(token), 401, "sign_in_link_invalid");
});

test("a link ends after 10 minutes, and with the next link", async () => {
  const { userId } = await createTenant(admin);
  const first = await identity.createSignInLink(userId);
  const second = await identity.createSignInLink(userId);
  await expectProblem(await exchange(first.token), 401, "sign_in_link_invalid");
  await setClock("601 seconds");
  const late = await exchange(second.token);
  await setClock("0 seconds");
  await expectProblem(late, 401, "sign_in_link_invalid");
});

test("only hashes of links, cookies and keys are in the database", async () => {
  const tenant = await createTenant(admin);
  const { token } = await identity.createSignInLink(tenant.userId);
  const { cookie } = await sessionOf(await exchange(token));
  const secret = cookie.split("=")[1]!;
  for (const table of ["sign_in_links", "refresh_tokens"]) {
    const { rows } = await admin.query<{ text: string }>(`SELECT t::text AS text FROM ${table} t`);
    const stored = rows.map((row) => row.text).join();
    expect(stored).not.toContain(token);
    expect(stored).not.toContain(secret);
  }
});

test("a cookie gets a fresh token and a fresh cookie, again and again", async () => {
  const tenant = await createTenant(admin);
  let { cookie } = await signIn(tenant);
  const cookies = new Set([cookie]);
  for (let n = 0; n < 3; n++) {
    const session = await sessionOf(await refresh(cookie));
    expect((await me(session.accessToken)).status).toBe(200);
    ({ cookie } = session);
    cookies.add(cookie);
  }
  expect(cookies.size).toBe(4);
});

test("refreshes at once, and a lost answer, get one and the same successor", async () => {
  const { cookie } = await signIn(await createTenant(admin));
  // All of them wait at the same cookie, until this lets them go on.
  await admin.query("BEGIN");
  await admin.query("SELECT 1 FROM refresh_tokens WHERE replaced_at IS NULL FOR UPDATE");
  const sent = Array.from({ length: 8 }, async () => sessionOf(await refresh(cookie)));
  const waiting = async () =>
    (await admin.query("SELECT DISTINCT pid FROM pg_locks WHERE NOT granted")).rows.length;
  await expect.poll(waiting, { timeout: 10_000 }).toBe(8);
  await admin.query("COMMIT");
  const sessions = await Promise.all(sent);
  expect(new Set(sessions.map((session) => session.cookie)).size).toBe(1);
  const again = await sessionOf(await refresh(cookie));
  expect(again.cookie).toBe(sessions[0]?.cookie);
});

test("within the grace an old cookie gets the newest one, not one that was replaced itself", async () => {
  const first = await signIn(await createTenant(admin));
  const second = await sessionOf(await refresh(first.cookie));
  const third = await sessionOf(await refresh(second.cookie));
  expect((await sessionOf(await refresh(first.cookie))).cookie).toBe(third.cookie);
});

test("a cookie that comes again after the grace ends its session everywhere, with a line in the audit", async () => {
  const tenant = await createTenant(admin);
  const stolen = await signIn(tenant);
  const current = await sessionOf(await refresh(stolen.cookie));
  await setClock("11 seconds");
  const reuse = await refresh(stolen.cookie);
  await expectProblem(reuse, 401, "session_ended");
  expect(reuse.headers.getSetCookie()[0]).toMatch(/^guildhall_refresh=; /);
  await expectProblem(await refresh(current.cookie), 401, "session_ended");
  await expectProblem(await me(current.accessToken), 401, "unauthenticated");
  await setClock("0 seconds");
  expect(await auditOf(tenant)).toEqual(["session.started", "session.reused"]);
});

test("a session ends 7 days after its sign-in, however often it was refreshed", async () => {
  let { cookie } = await signIn(await createTenant(admin));
  for (const days of [3, 6]) {
    await setClock(`${days} days`);
    ({ cookie } = await sessionOf(await refresh(cookie)));
  }
  await setClock("7 days 1 second");
  const late = await refresh(cookie);
  await setClock("0 seconds");
  await expectProblem(late, 401, "session_ended");
});

test("signing out ends the cookie and the access token at once, and may be repeated", async () => {
  const tenant = await createTenant(admin);
  const { cookie, accessToken } = await signIn(tenant);
  expect((await me(accessToken)).status).toBe(200);
  const logout = () => send("POST", "/v1/auth/logout", { headers: { cookie } });
  const response = await logout();
  expect(response.status).toBe(204);
  expect(cookieOf(response)).toBe("guildhall_refresh=");
  await expectProblem(await me(accessToken), 401, "unauthenticated");
  await expectProblem(await refresh(cookie), 401, "session_ended");
  expect((await logout()).status).toBe(204);
  expect((await send("POST", "/v1/auth/logout")).status).toBe(204);
  expect(await auditOf(tenant)).toEqual(["session.started", "session.ended"]);
});

test("another session of the same user outlives a sign-out: it fetches a new token", async () => {
  const tenant = await createTenant(admin);
  const laptop = await signIn(tenant);
  const phone = await signIn(tenant);
  await send("POST", "/v1/auth/logout", { headers: { cookie: laptop.cookie } });
  const renewed = await sessionOf(await refresh(phone.cookie));
  expect((await me(renewed.accessToken)).status).toBe(200);
});

test("a token is for one workspace of the user; another's is as unknown as one that does not exist", async () => {
  const tenant = await createTenant(admin);
  const second = await createTenant(admin);
  await admin.query(
    "INSERT INTO memberships (workspace_id, user_id, role, created_at) VALUES ($1, $2, 'viewer', clock_now() + interval '1 hour')",
    [second.workspaceId, tenant.userId],
  );
  const { cookie } = await signIn(tenant);
  const response = await refresh(cookie, { workspace_id: second.workspaceId });
  const next = await sessionOf(response);
  const answer = meSchema.parse(await (await me(next.accessToken)).json());
  expect(answer).toMatchObject({ workspace: { id: second.workspaceId }, role: "viewer" });
  expect(answer.scopes).not.toContain("tasks:write");

  const foreign = await createTenant(admin);
  for (const workspace_id of [foreign.workspaceId, "ws_nobody", "'; --"])
    await expectProblem(await refresh(next.cookie, { workspace_id }), 404, "workspace_not_found");
  // The refusals used nothing up.
  expect((await sessionOf(await refresh(next.cookie))).cookie).not.toBe(next.cookie);
});

test("a removed member's token is refused, and so is every cookie of theirs for that workspace", async () => {
  const tenant = await createTenant(admin);
  const { accessToken, cookie } = await signIn(tenant);
  await admin.query("DELETE FROM memberships WHERE user_id = $1", [tenant.userId]);
  await expectProblem(await me(accessToken), 401, "unauthenticated");
  await expectProblem(await refresh(cookie), 404, "workspace_not_found");
});

test.each([
  ["another site's page", { origin: "https://evil.example" }],
  ["a page with the same start of its name", { origin: "http://127.0.0.1.evil.example" }],
  ["a page without an origin of its own", { origin: "null" }],
  ["another site, as the browser says", { "sec-fetch-site": "cross-site" }],
  ["another port or subdomain, as the browser says", { "sec-fetch-site": "same-site" }],
] as [string, Record<string, string>][])("%s cannot use the cookie", async (_title, headers) => {
  const { userId } = await createTenant(admin);
  const { token } = await identity.createSignInLink(userId);
  await expectProblem(await exchange(token, headers), 403, "foreign_origin");
  const { cookie } = await sessionOf(await exchange(token));
  await expectProblem(await refresh(cookie, {}, headers), 403, "foreign_origin");
  const logout = await send("POST", "/v1/auth/logout", { headers: { cookie, ...headers } });
  await expectProblem(logout, 403, "foreign_origin");
});

test("the page's own origin may, also with and without a body", async () => {
  const { cookie } = await signIn(await createTenant(admin));
  const headers = { origin: new URL(base).origin, "sec-fetch-site": "same-origin" };
  const first = await sessionOf(await refresh(cookie, {}, headers));
  const second = await send("POST", "/v1/auth/token", {
    headers: { cookie: first.cookie, "content-type": "application/json", ...headers },
  });
  expect(second.status).toBe(200);
});

test.each([
  ["no token", {}],
  ["a short one", { token: "abc" }],
  ["one that is no text", { token: 5 }],
  ["an unknown field", { token: "x".repeat(43), user_id: "usr_1" }],
])("an exchange with %s is refused", async (_title, json) => {
  const response = await send("POST", "/v1/auth/exchange", { json });
  await expectProblem(response, 400, "validation_failed");
});

test("what is no cookie of ours is refused, also when it is SQL", async () => {
  await expectProblem(await refresh(""), 401, "session_ended");
  for (const value of ["x", "%27%20OR%201%3D1--", "a".repeat(5_000)])
    await expectProblem(await refresh(`guildhall_refresh=${value}`), 401, "session_ended");
});

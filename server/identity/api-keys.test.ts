import { expect, test } from "vitest";
import {
  apiKeyListSchema,
  createdApiKeySchema,
  meSchema,
} from "@guildhall/sdk/contract/workspace.ts";
import { verifyAudit } from "../audit/audit.ts";
import type { Clock } from "../platform/clock.ts";
import { type Caller, expectProblem, startTestApi, withoutRequestId } from "../test/api.ts";
import { createTenant, type Tenant } from "../test/tenant.ts";
import { createApiKeys } from "./api-keys.ts";

let offsetMs = 0;
const clock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now() + offsetMs,
};
const api = await startTestApi({ clock });
const { admin, db, identity, send } = api;

/** Lets what this process remembers of keys and members become old. */
function letCachesEnd(): void {
  offsetMs += 2_001;
}
async function userToken(tenant: Tenant): Promise<string> {
  const { token } = await identity.createSignInLink(tenant.userId);
  const session = await identity.sessions.exchange({ token, origin: "test" });
  return session.accessToken;
}
const create = (key: string, json: object) => send("POST", "/v1/api-keys", { key, json });
const listTasks = (key: string) => send("GET", "/v1/tasks", { key });
const setRole = (tenant: Tenant, role: string) =>
  admin.query("UPDATE memberships SET role = $2 WHERE user_id = $1", [tenant.userId, role]);

test("a key is shown once, works, and is listed without its text", async () => {
  const tenant = await createTenant(admin);
  const token = await userToken(tenant);
  const response = await create(token, { name: " CI ", scopes: ["tasks:read"] });
  expect(response.status).toBe(201);
  const key = createdApiKeySchema.strict().parse(await response.json());
  expect(key.key).toMatch(/^ghk_ws_[0-9a-z]{26}\.key_[0-9a-z]{26}\.[\w-]{43}$/);
  expect(key).toMatchObject({ name: "CI", scopes: ["tasks:read"], last_used_at: null });
  expect(key.key.startsWith(key.prefix)).toBe(true);
  expect((await listTasks(key.key)).status).toBe(200);

  const listed = await send("GET", "/v1/api-keys", { key: token });
  const text = await listed.text();
  expect(text).not.toContain(key.key);
  const [entry] = apiKeyListSchema.parse(JSON.parse(text)).data;
  expect(entry).toMatchObject({ id: key.id, revoked_at: null });
  expect(entry?.last_used_at).not.toBeNull();
  const { rows } = await admin.query<{ text: string }>("SELECT k::text AS text FROM api_keys k");
  expect(rows.map((row) => row.text).join()).not.toContain(key.key.split(".")[2]);

  const who = meSchema.parse(await (await send("GET", "/v1/me", { key: key.key })).json());
  expect(who).toMatchObject({
    actor: { kind: "api_key", id: key.id, name: "CI" },
    role: "owner",
    scopes: ["tasks:read"],
  });
  expect(await db.withWorkspace(tenant.workspaceId, verifyAudit)).toEqual({ ok: true, lines: 2 });
});

test("a key may do what its scopes say and nothing else", async () => {
  const tenant = await createTenant(admin);
  const key = await api.keyWith(tenant, ["tasks:read"]);
  expect((await listTasks(key)).status).toBe(200);
  const response = await send("POST", "/v1/tasks", { key, json: { agent: "gray", prompt: "a" } });
  expect((await expectProblem(response, 403, "scope_missing")).detail).toContain("tasks:write");
});

test("a key never may more than its creator may now", async () => {
  const tenant = await createTenant(admin);
  const key = await api.keyWith(tenant, ["tasks:read", "tasks:write", "limits:write"]);
  const task = { agent: "gray", prompt: "a" };
  expect((await send("POST", "/v1/tasks", { key, json: task })).status).toBe(201);
  await setRole(tenant, "viewer");
  letCachesEnd();
  expect((await listTasks(key)).status).toBe(200);
  await expectProblem(await send("POST", "/v1/tasks", { key, json: task }), 403, "scope_missing");
});

test("the key of a removed member is worth nothing, and stays listed", async () => {
  const tenant = await createTenant(admin);
  const key = await api.keyWith(tenant, ["tasks:read"]);
  expect((await listTasks(key)).status).toBe(200);
  await admin.query("DELETE FROM memberships WHERE user_id = $1", [tenant.userId]);
  letCachesEnd();
  await expectProblem(await listTasks(key), 401, "unauthenticated");
  expect(await identity.apiKeys.list(tenant.workspaceId)).toHaveLength(1);
});

test("a revoked key is refused at once here, and elsewhere when what is remembered has ended", async () => {
  const tenant = await createTenant(admin);
  const token = await userToken(tenant);
  const created = await create(token, { name: "k", scopes: ["tasks:read"] });
  const { id, key } = createdApiKeySchema.parse(await created.json());
  // Another process with a memory of its own.
  const elsewhere = createApiKeys({ db, clock });
  expect((await listTasks(key)).status).toBe(200);
  expect(await elsewhere.verify(key)).toMatchObject({ id });

  const revoke = () => send("DELETE", `/v1/api-keys/${id}`, { key: token });
  expect((await revoke()).status).toBe(204);
  await expectProblem(await listTasks(key), 401, "unauthenticated");
  letCachesEnd();
  expect(await elsewhere.verify(key)).toBeUndefined();
  expect((await revoke()).status).toBe(204);
  const { rows } = await admin.query(
    "SELECT count(*)::int AS n FROM audit_lines WHERE workspace_id = $1 AND action = 'api_key.revoked'",
    [tenant.workspaceId],
  );
  expect(rows).toEqual([{ n: 1 }]);
});

test("a key ends when it was said to, also when it was just used", async () => {
  const token = await userToken(await createTenant(admin));
  const stopClock = (time: string) =>
    admin.query(
      `CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$SELECT timestamptz '${time}'$$`,
    );
  try {
    await stopClock("2031-01-01T00:00:00Z");
    const expires_at = "2031-01-01T00:00:01Z";
    const response = await create(token, { name: "k", scopes: ["tasks:read"], expires_at });
    const { key } = createdApiKeySchema.parse(await response.json());
    expect((await listTasks(key)).status).toBe(200);
    await stopClock(expires_at);
    await expectProblem(await listTasks(key), 401, "unauthenticated");
  } finally {
    await admin.query(
      "CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT clock_timestamp()'",
    );
  }
});

test("a key that would have ended before it began is not made", async () => {
  const token = await userToken(await createTenant(admin));
  const response = await create(token, {
    name: "k",
    scopes: ["tasks:read"],
    expires_at: "2020-01-01T00:00:00Z",
  });
  await expectProblem(response, 422, "expiry_in_past");
});

test("a key with keys:write makes keys of its own rights at most, and no maker", async () => {
  const caller: Caller = await api.caller();
  const made = await create(caller.key, { name: "k", scopes: ["tasks:read"] });
  const { key } = createdApiKeySchema.parse(await made.json());
  expect((await listTasks(key)).status).toBe(200);
  const maker = await create(caller.key, { name: "k", scopes: ["tasks:read", "keys:write"] });
  await expectProblem(maker, 403, "scope_beyond_maker");
  await expectProblem(
    await create(key, { name: "k", scopes: ["tasks:read"] }),
    403,
    "scope_missing",
  );
});

test("nobody makes a key that may more than they do", async () => {
  const tenant = await createTenant(admin);
  const { token } = await identity.createSignInLink(tenant.userId);
  await setRole(tenant, "admin");
  const { accessToken } = await identity.sessions.exchange({ token, origin: "test" });
  const everything = { name: "k", scopes: ["tasks:write", "limits:write", "keys:write"] };
  expect((await create(accessToken, everything)).status).toBe(201);
  await setRole(tenant, "member");
  letCachesEnd();
  await expectProblem(
    await create(accessToken, { name: "k", scopes: ["tasks:read"] }),
    403,
    "scope_missing",
  );
});

test.each([
  ["no scopes", { name: "k", scopes: [] }, "scopes"],
  ["an unknown scope", { name: "k", scopes: ["*"] }, "scopes.0"],
  ["no name", { name: " ", scopes: ["tasks:read"] }, "name"],
  [
    "an end that is no time",
    { name: "k", scopes: ["tasks:read"], expires_at: "soon" },
    "expires_at",
  ],
  ["a role", { name: "k", scopes: ["tasks:read"], role: "owner" }, "role"],
  ["a creator", { name: "k", scopes: ["tasks:read"], created_by: "usr_1" }, "created_by"],
])("a key with %s is refused with the field", async (_title, json, field) => {
  const token = await userToken(await createTenant(admin));
  const problem = await expectProblem(await create(token, json), 400, "validation_failed");
  expect(problem.errors?.map((error) => error.field)).toEqual([field]);
});

test("a foreign key's id and an unknown one get the same answer, and the foreign key lives on", async () => {
  const token = await userToken(await createTenant(admin));
  const other = await createTenant(admin);
  const foreign = await api.keyWith(other, ["tasks:read"]);
  const [, foreignId = ""] = foreign.split(".");
  const answers = await Promise.all(
    [foreignId, "key_00000000000000000000000000", "nonsense"].map((id) =>
      send("DELETE", `/v1/api-keys/${id}`, { key: token }),
    ),
  );
  expect(answers.map((answer) => answer.status)).toEqual([404, 404, 404]);
  const bodies = await Promise.all(answers.map(withoutRequestId));
  expect(bodies[0]).toContain("api_key_not_found");
  expect(new Set(bodies).size).toBe(1);
  expect((await listTasks(foreign)).status).toBe(200);
});

test("a key whose text was changed in any part is refused", async () => {
  const tenant = await createTenant(admin);
  const other = await createTenant(admin);
  const key = await api.keyWith(tenant, ["tasks:read"]);
  const [head = "", id = "", secret = ""] = key.split(".");
  const flipped = `${secret.startsWith("A") ? "B" : "A"}${secret.slice(1)}`;
  for (const text of [
    `${head}.${id}.${flipped}`,
    `ghk_${other.workspaceId}.${id}.${secret}`,
    `${head}.key_00000000000000000000000000.${secret}`,
    `${head}.${id}.${secret}x`,
    `${head}.${id}.`,
    `${head}.${id}'--.${secret}`,
    key.toUpperCase(),
  ])
    await expectProblem(await listTasks(text), 401, "unauthenticated");
  expect((await listTasks(key)).status).toBe(200);
});

test("a right key does not open the way for a wrong one with the same id", async () => {
  const tenant = await createTenant(admin);
  const key = await api.keyWith(tenant, ["tasks:read"]);
  expect((await listTasks(key)).status).toBe(200);
  const wrong = `${key.slice(0, -43)}${"A".repeat(43)}`;
  await expectProblem(await listTasks(wrong), 401, "unauthenticated");
});

test("a credential in the address or in another header is not read", async () => {
  const { key } = await api.caller();
  await expectProblem(await send("GET", `/v1/me?access_token=${key}`), 401, "unauthenticated");
  await expectProblem(
    await send("GET", "/v1/me", { headers: { "x-api-key": key } }),
    401,
    "unauthenticated",
  );
  await expectProblem(
    await send("GET", "/v1/me", { headers: { authorization: `Basic ${key}` } }),
    401,
    "unauthenticated",
  );
});

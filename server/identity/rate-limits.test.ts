import { expect, it } from "vitest";
import { createRequestLimits } from "../platform/request-limits.ts";
import { expectProblem, startTestApi } from "../test/api.ts";

const api = await startTestApi({
  requestLimits: createRequestLimits({
    TRUSTED_PROXIES: "127.0.0.1",
    RATE_LIMITS:
      "address=40/60, failed_credential=3/60, flood=10/60, sign_in=2/60, user=8/60, change=4/60, create_task=2/60",
  }),
});
const { send } = api;

/** As a proxy on this machine would pass on what comes from this address. */
const from = (address: string) => ({ "x-forwarded-for": address });

const task = { agent: "gray", prompt: "Work." };

it("one user has its own limits in all, of changes and of the endpoint, and each answer tells what is left", async () => {
  const caller = await api.caller();
  const other = await api.caller();
  const create = (key: string) =>
    send("POST", "/v1/tasks", { key, json: task, headers: from("1.0.0.1") });
  const first = await create(caller.key);
  expect(first.status).toBe(201);
  expect(first.headers.get("ratelimit-policy")).toBe(
    '"user";q=8;w=60, "change";q=4;w=60, "create_task";q=2;w=60',
  );
  expect(first.headers.get("ratelimit")).toMatch(
    /^"user";r=7;t=\d+, "change";r=3;t=\d+, "create_task";r=1;t=\d+$/,
  );
  expect((await create(caller.key)).status).toBe(201);
  const refused = await create(caller.key);
  const seconds = Number(refused.headers.get("retry-after"));
  expect(seconds).toBeGreaterThan(0);
  expect(seconds).toBeLessThanOrEqual(60);
  expect(refused.headers.get("ratelimit")).toContain('"create_task";r=0;t=');
  const problem = await expectProblem(refused, 429, "rate_limited");
  expect(problem.detail).toContain("the limit create_task allows");
  // What the endpoint refused did not use up the user's other limits, and nobody else's either.
  const read = await send("GET", "/v1/me", { key: caller.key, headers: from("1.0.0.1") });
  expect(read.headers.get("ratelimit")).toMatch(/^"user";r=5;/);
  expect((await create(other.key)).status).toBe(201);
});

it("an address is limited before its credential is looked at; a /64 is one address, another is not", async () => {
  const statuses = [];
  for (let n = 0; n < 42; n++)
    statuses.push(
      (await send("GET", "/v1/openapi.json", { headers: from(`2001:db8:1:2::${n.toString(16)}`) }))
        .status,
    );
  expect(statuses.filter((status) => status === 200)).toHaveLength(40);
  await expectProblem(
    await send("GET", "/v1/me", { key: "junk", headers: from("2001:DB8:1:2:9:9:9:9") }),
    429,
    "rate_limited",
  );
  expect((await send("GET", "/v1/openapi.json", { headers: from("2001:db8:1:3::1") })).status).toBe(
    200,
  );
});

it("who tries credentials is stopped; who is known at the same address goes on, and so do other addresses", async () => {
  const caller = await api.caller();
  const me = (key: string, address: string) =>
    send("GET", "/v1/me", { key, headers: from(address) });
  expect((await me(caller.key, "1.0.0.3")).status).toBe(200);
  for (let n = 0; n < 3; n++) expect((await me(`ghk_guess${n}`, "1.0.0.3")).status).toBe(401);
  await expectProblem(await me("ghk_guess4", "1.0.0.3"), 429, "rate_limited");
  expect((await me(caller.key, "1.0.0.3")).status).toBe(200);
  const unknown = await api.caller();
  expect((await me(unknown.key, "1.0.0.3")).status).toBe(429);
  expect((await me(unknown.key, "1.0.0.4")).status).toBe(200);
});

it("the routes of signing in have their own limit per address", async () => {
  const exchange = (address: string) =>
    send("POST", "/v1/auth/exchange", { json: { token: "x".repeat(30) }, headers: from(address) });
  expect((await exchange("1.0.0.5")).status).toBe(401);
  expect((await exchange("1.0.0.5")).status).toBe(401);
  const refused = await expectProblem(await exchange("1.0.0.5"), 429, "rate_limited");
  expect(refused.detail).toContain("the limit sign_in allows");
  expect((await exchange("1.0.0.6")).status).toBe(401);
});

it("who goes on after 429 loses the connection, and comes back when the window is over: refusals do not prolong it", async () => {
  const caller = await api.caller();
  const create = () =>
    send("POST", "/v1/tasks", { key: caller.key, json: task, headers: from("1.0.0.7") });
  await create();
  await create();
  const waits = [];
  let last = await create();
  for (let n = 0; n < 12; n++) {
    waits.push(Number(last.headers.get("retry-after")));
    last = await create();
  }
  expect(last.status).toBe(429);
  expect(last.headers.get("connection")).toBe("close");
  expect(Math.max(...waits)).toBe(waits[0]);
  // Not by another route either, and not another credential: the address is flooding.
  const other = await api.caller();
  const elsewhere = await send("GET", "/v1/me", { key: other.key, headers: from("1.0.0.7") });
  const { detail } = await expectProblem(elsewhere, 429, "rate_limited");
  expect(detail).toContain("the limit flood allows");
});

it("audit lines name the client, not the proxy", async () => {
  const caller = await api.caller();
  await send("POST", "/v1/tasks", {
    key: caller.key,
    json: task,
    headers: from("6.6.6.6, 1.0.0.8"),
  });
  const { rows } = await api.admin.query("SELECT origin FROM audit_lines WHERE workspace_id = $1", [
    caller.workspaceId,
  ]);
  expect(rows).toContainEqual({ origin: "1.0.0.8" });
});

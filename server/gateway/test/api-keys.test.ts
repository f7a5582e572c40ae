import Anthropic from "@anthropic-ai/sdk";
import { afterEach, describe, expect, it } from "vitest";
import type { Scope } from "@guildhall/sdk/contract/workspace.ts";
import { createApiKeys } from "../../identity/api-keys.ts";
import { balanceOf as levelBalance } from "../../ledger/fixture.ts";
import { setLimit } from "../../ledger/limits.ts";
import { systemClock } from "../../platform/clock.ts";
import { createTestDatabase } from "../../test/database.ts";
import { createTenant, type Tenant, type TenantOptions } from "../../test/tenant.ts";
import {
  balanceOf,
  clientOf,
  expectLaws,
  post,
  quiet,
  SMALL,
  startBoth,
} from "./gateway-fixture.ts";

const database = await createTestDatabase();
const { db, admin } = database;
afterEach(() => expectLaws(database));

/** As another process has it: what is revoked here, the gateways under test do not hear of. */
const elsewhere = createApiKeys({ db, clock: systemClock });
const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const WEATHER = {
  name: "weather",
  description: "Tells the weather.",
  input_schema: { type: "object" as const, properties: { place: { type: "string" } } },
};

async function keyOf(
  tenant: Tenant,
  options: { scopes?: Scope[]; expiresAt?: string } = {},
): Promise<{ id: string; token: string }> {
  const { id, key } = await elsewhere.create({
    workspaceId: tenant.workspaceId,
    createdBy: tenant.userId,
    actor: `user:${tenant.userId}`,
    origin: "test",
    name: "program",
    scopes: options.scopes ?? ["models:invoke"],
    expiresAt: options.expiresAt,
  });
  return { id, token: key };
}

/** A workspace with a key, at a gateway of its own. */
async function startProgram(options: TenantOptions = {}) {
  const gateway = await startBoth(database);
  const tenant = await createTenant(admin, options);
  const key = await keyOf(tenant);
  return { ...gateway, tenant, key, client: clientOf(gateway.url, key) };
}

function capKey(tenant: Tenant, keyId: string, amount: number): Promise<number> {
  return db.withWorkspace(tenant.workspaceId, (tx) =>
    setLimit(tx, { meter: "model_cost", level: "key", scopeId: keyId, amount, actor: "test" }),
  );
}

async function errorOf(
  call: PromiseLike<unknown>,
): Promise<InstanceType<typeof Anthropic.APIError>> {
  const error = await Promise.resolve(call).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(Anthropic.APIError);
  return error as InstanceType<typeof Anthropic.APIError>;
}

const codeOf = (error: { error: unknown }): unknown =>
  (error.error as { error?: { code?: string } }).error?.code;

describe("what a program with an API key can do by the official client", () => {
  it("gets whole and streamed answers, each held, charged to its key and its workspace, and not kept", async () => {
    const { client, tenant, key, simulator } = await startProgram({
      costLimitNanoUsd: 10_000_000_000,
    });
    const whole = await client.messages.create(SMALL);
    expect(whole.content[0]).toMatchObject({ type: "text" });
    const streamed = client.messages.stream(SMALL);
    const pieces: string[] = [];
    streamed.on("text", (text) => pieces.push(text));
    const final = await streamed.finalMessage();
    expect(pieces.length).toBeGreaterThan(1);
    expect(final.content[0]).toMatchObject({ type: "text", text: pieces.join("") });
    const holds = await quiet(database, tenant);
    expect(holds.map(({ state, call_no: no }) => [state, no])).toEqual([
      ["SETTLED", null],
      ["SETTLED", null],
    ]);
    const { rows } = await admin.query(
      "SELECT api_key_id, run_id, (SELECT count(*)::int FROM journal j WHERE j.workspace_id = $1) AS kept FROM holds WHERE workspace_id = $1",
      [tenant.workspaceId],
    );
    expect(rows).toEqual([1, 2].map(() => ({ api_key_id: key.id, run_id: null, kept: 0 })));
    const { posted } = await balanceOf(database, tenant);
    expect(posted).toBe(simulator.meter.report().totals.cost_nano_usd);
    expect(
      await levelBalance(admin, { workspaceId: tenant.workspaceId, level: "key", scopeId: key.id }),
    ).toMatchObject({ posted, held: 0 });
  });

  it("lets the model use tools and takes their results, as a bearer token too", async () => {
    const { url, key } = await startProgram();
    const client = new Anthropic({
      baseURL: url,
      apiKey: null,
      authToken: key.token,
      maxRetries: 0,
    });
    const base = { ...SMALL, tools: [WEATHER] };
    const asked = await client.messages.create({ ...base, tool_choice: { type: "any" } });
    const use = asked.content.find((block) => block.type === "tool_use");
    expect(use).toMatchObject({ name: "weather" });
    const told = await client.messages.create({
      ...base,
      messages: [
        ...SMALL.messages,
        { role: "assistant", content: asked.content },
        {
          role: "user",
          content: [{ type: "tool_result", tool_use_id: use!.id, content: "Sunny." }],
        },
      ],
    });
    expect(told.stop_reason).not.toBeNull();
  });

  it("gets thinking, and may send it back", async () => {
    const { client } = await startProgram();
    const base = {
      ...SMALL,
      max_tokens: 4_000,
      thinking: { type: "enabled" as const, budget_tokens: 2_000 },
    };
    const first = await client.messages.stream(base).finalMessage();
    expect(first.content[0]).toMatchObject({ type: "thinking" });
    const again = await client.messages.create({
      ...base,
      messages: [
        ...SMALL.messages,
        { role: "assistant", content: first.content },
        { role: "user", content: "Go on." },
      ],
    });
    expect(again.content.at(-1)).toMatchObject({ type: "text" });
  });

  it("sends images", async () => {
    const { client } = await startProgram();
    const source = { type: "base64" as const, media_type: "image/png" as const, data: PIXEL };
    const answer = await client.messages.create({
      ...SMALL,
      messages: [
        {
          role: "user",
          content: [
            { type: "image", source },
            { type: "text", text: "What is it?" },
          ],
        },
      ],
    });
    expect(answer.content[0]).toMatchObject({ type: "text" });
  });

  it("writes prompts to the cache and reads them again, at their prices", async () => {
    const { client, tenant, simulator } = await startProgram();
    const call = () =>
      client.messages.create({
        ...SMALL,
        system: [
          {
            type: "text",
            text: "You are careful. ".repeat(2_000),
            cache_control: { type: "ephemeral" },
          },
        ],
      });
    const written = await call();
    expect(written.usage.cache_creation_input_tokens).toBeGreaterThan(1_000);
    const read = await call();
    expect(read.usage.cache_read_input_tokens).toBe(written.usage.cache_creation_input_tokens);
    await quiet(database, tenant);
    expect((await balanceOf(database, tenant)).posted).toBe(
      simulator.meter.report().totals.cost_nano_usd,
    );
  });

  it("counts tokens without any hold, at a rate of its own", async () => {
    const { client, tenant } = await startProgram();
    const { messages, model } = SMALL;
    expect((await client.messages.countTokens({ messages, model })).input_tokens).toBeGreaterThan(
      0,
    );
    const counts = Array.from({ length: 130 }, (_, n) =>
      client.messages
        .countTokens({ model, messages: [{ role: "user", content: `Number ${n}` }] })
        .then(() => 200)
        .catch((error: InstanceType<typeof Anthropic.APIError>) => error.status),
    );
    const answers = await Promise.all(counts);
    expect(new Set(answers)).toEqual(new Set([200, 429]));
    const other = clientOf(client.baseURL, await keyOf(tenant));
    await other.messages.countTokens({ model, messages: [{ role: "user", content: "Another." }] });
    expect(await quiet(database, tenant)).toEqual([]);
  });
});

describe("what stops a program with an API key", () => {
  it("402 at the key's own cap: the client understands it and does not try again, other keys go on", async () => {
    const { url, tenant, key, simulator } = await startProgram();
    await capKey(tenant, key.id, 1_000);
    const client = new Anthropic({
      baseURL: url,
      apiKey: key.token,
      maxRetries: 5,
      logLevel: "off",
    });
    const calls = [() => client.messages.create(SMALL), () => client.messages.stream(SMALL).done()];
    for (const call of calls) {
      const error = await errorOf(call());
      expect([error.status, codeOf(error)]).toEqual([402, "budget_exhausted"]);
      expect(error.message).toContain("The budget of this API key has no room");
      expect(error.error).toMatchObject({
        error: { details: { level: "key", scope_id: key.id, limit: 1_000 } },
      });
    }
    expect(simulator.meter.report().totals.calls).toBe(0);
    await clientOf(url, await keyOf(tenant)).messages.create(SMALL);
  });

  it("402 at the workspace's limit, also when one key alone would have room", async () => {
    const { client, tenant, key } = await startProgram({ costLimitNanoUsd: 1_000 });
    await capKey(tenant, key.id, 1_000_000_000);
    const error = await errorOf(client.messages.create(SMALL));
    expect([error.status, codeOf(error)]).toEqual([402, "budget_exhausted"]);
    expect(error.error).toMatchObject({ error: { details: { level: "workspace" } } });
  });

  it("a call that does not fit whole is clamped to what the key has left", async () => {
    const { url, tenant, key } = await startProgram();
    await capKey(tenant, key.id, 50_000_000);
    const body = { ...SMALL, max_tokens: 60_000 };
    const answer = await post(url, { token: key.token, body });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("guildhall-clamped")).toBe("true");
    expect(Number(answer.headers.get("guildhall-held-nano-usd"))).toBeLessThanOrEqual(50_000_000);
    await answer.text();
  });

  it("a key that is revoked at another process is dead from the next call on", async () => {
    const { client, tenant, key, simulator } = await startProgram();
    await client.messages.create(SMALL);
    await elsewhere.revoke({
      workspaceId: tenant.workspaceId,
      id: key.id,
      actor: `user:${tenant.userId}`,
      origin: "test",
    });
    const error = await errorOf(client.messages.create(SMALL));
    expect(error).toBeInstanceOf(Anthropic.AuthenticationError);
    expect(codeOf(error)).toBe("api_key_invalid");
    expect(simulator.meter.report().totals.calls).toBe(1);
  });

  it("unknown keys and those that have ended are refused with 401", async () => {
    const { url, tenant, key } = await startProgram();
    const ended = await keyOf(tenant);
    await admin.query(
      "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = $1",
      [ended.id],
    );
    const changed = key.token.replace(/.{43}$/, "x".repeat(43));
    for (const token of [ended.token, changed]) {
      const error = await errorOf(clientOf(url, { token }).messages.create(SMALL));
      expect([error.status, codeOf(error)]).toEqual([401, "api_key_invalid"]);
    }
  });

  it("a key without the scope is refused with 403 that names it, and so is one whose maker may no longer call models", async () => {
    const { url, tenant, client } = await startProgram();
    const reader = await keyOf(tenant, { scopes: ["tasks:read", "tasks:write"] });
    await admin.query("UPDATE memberships SET role = 'viewer' WHERE user_id = $1", [tenant.userId]);
    for (const each of [clientOf(url, reader), client]) {
      for (const call of [
        () => each.messages.create(SMALL),
        () => each.messages.countTokens({ model: SMALL.model, messages: SMALL.messages }),
      ]) {
        const error = await errorOf(call());
        expect(error).toBeInstanceOf(Anthropic.PermissionDeniedError);
        expect(error.message).toContain("models:invoke");
        expect(error.error).toMatchObject({
          error: { type: "permission_error", code: "scope_missing" },
        });
      }
    }
    expect(await quiet(database, tenant)).toEqual([]);
  });

  it("with the database away a key is neither let in nor called invalid", async () => {
    const { url, simulator } = await startBoth(database, {
      checkKey: () => Promise.reject(new Error("connection refused")),
    });
    const key = await keyOf(await createTenant(admin));
    const error = await errorOf(clientOf(url, key).messages.create(SMALL));
    expect([error.status, codeOf(error)]).toEqual([503, "database_unavailable"]);
    expect(simulator.meter.report().totals.calls).toBe(0);
  });

  it("a key spends the money of its own workspace only", async () => {
    const { url, tenant, client } = await startProgram();
    const foreign = await createTenant(admin);
    const key = await keyOf(foreign);
    await clientOf(url, key).messages.create(SMALL);
    await quiet(database, foreign);
    expect((await balanceOf(database, tenant)).posted).toBe(0);
    expect((await balanceOf(database, foreign)).posted).toBeGreaterThan(0);
    // The right secret under the name of another workspace is no key at all.
    const moved = key.token.replace(foreign.workspaceId, tenant.workspaceId);
    const error = await errorOf(clientOf(url, { token: moved }).messages.create(SMALL));
    expect(error.status).toBe(401);
    await client.messages.create(SMALL);
  });
});

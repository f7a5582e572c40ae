import Anthropic from "@anthropic-ai/sdk";
import { afterAll, describe, expect, test } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { claimRun } from "../test/tenant.ts";
import {
  expectLaws,
  balanceOf,
  clientOf,
  holdsOf,
  post,
  SMALL,
  startBoth,
  startRun,
} from "./test/gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

const TOOL = {
  name: "list_files",
  description: "Lists the files.",
  input_schema: { type: "object" as const, properties: {} },
};

describe("a call by the official client", () => {
  test("a whole answer arrives, and costs to the last digit what the provider's meter says", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const { data, response } = await clientOf(url, run).messages.create(SMALL).withResponse();
    expect(data.stop_reason).toBe("end_turn");
    const [hold] = await holdsOf(database, run);
    const [call] = simulator.meter.report().calls;
    expect(hold).toMatchObject({
      state: "SETTLED",
      posted: call!.cost_nano_usd,
      call_no: 1,
      attempt_no: 1,
    });
    expect(hold!.posted).toBeGreaterThan(0);
    expect(await balanceOf(database, run)).toEqual({ posted: call!.cost_nano_usd, held: 0 });
    expect(response.headers.get("guildhall-hold-id")).toBe(hold!.id);
    expect(response.headers.get("guildhall-held-nano-usd")).toBe(String(hold!.amount));
    expect(response.headers.get("guildhall-max-tokens")).toBe("2000");
    expect(response.headers.get("guildhall-clamped")).toBeNull();
    expect(response.headers.get("request-id")).toMatch(/^req_/);
  });

  test("a streamed answer arrives as the provider sent it, byte for byte", async () => {
    const { url, simulator, providerUrl } = await startBoth(database);
    const run = await startRun(database);
    const body = { ...SMALL, stream: true };
    const through = await (await post(url, { token: run.token, body })).text();
    // The same provider directly, with what the gateway adds.
    const direct = await fetch(`${providerUrl}/v1/messages`, {
      method: "POST",
      headers: {
        "x-api-key": "sk-provider-0123456789-never-shown",
        "anthropic-version": "2023-06-01",
      },
      body: JSON.stringify({
        ...body,
        service_tier: "standard_only",
        inference_geo: "global",
      }),
    });
    expect(through).toBe(await direct.text());
    const [hold] = await holdsOf(database, run);
    expect(hold).toMatchObject({
      state: "SETTLED",
      posted: simulator.meter.report().calls[0]!.cost_nano_usd,
    });
  });

  test("the charge is durable before the stream ends", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database);
    const stream = clientOf(url, run).messages.stream(SMALL);
    const states: string[] = [];
    for await (const event of stream)
      if (event.type === "message_stop") states.push((await holdsOf(database, run))[0]!.state);
    expect(states).toEqual(["SETTLED"]);
  });

  test("tools, a system prompt and cache marks are metered exactly over a conversation", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const client = clientOf(url, run);
    const messages: Anthropic.MessageParam[] = [{ role: "user", content: "List the files." }];
    const request = {
      ...SMALL,
      system: "You work carefully. ".repeat(400),
      cache_control: { type: "ephemeral" as const },
      tools: [TOOL],
      messages,
    };
    const first = await client.messages
      .stream({
        ...request,
        tool_choice: { type: "any" },
      })
      .finalMessage();
    const use = first.content.find((block) => block.type === "tool_use");
    expect(use).toBeDefined();
    messages.push(
      { role: "assistant", content: first.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: use!.id, content: "a.csv" }] },
    );
    await client.messages.stream(request).finalMessage();
    const holds = await holdsOf(database, run);
    const { calls } = simulator.meter.report();
    expect(holds.map((hold) => hold.posted)).toEqual(calls.map((call) => call.cost_nano_usd));
    expect(calls[0]!.cache_creation_input_tokens).toBeGreaterThan(0);
    expect(calls[1]!.cache_read_input_tokens).toBeGreaterThan(0);
  });

  test("a conversation that only grows is held at little more than it costs", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database);
    const client = clientOf(url, run);
    const long = "The quick brown fox jumps over the lazy dog. ".repeat(500);
    const messages: Anthropic.MessageParam[] = [{ role: "user", content: long }];
    const answer = await client.messages.create({ ...SMALL, max_tokens: 100, messages });
    messages.push(
      { role: "assistant", content: answer.content },
      { role: "user", content: "Go on." },
    );
    await client.messages.create({ ...SMALL, max_tokens: 100, messages });
    // The same length, but nothing of it is known.
    messages[0] = { role: "user", content: long.replaceAll("quick", "brisk") };
    await client.messages.create({ ...SMALL, max_tokens: 100, messages });
    const [first, second, third] = await holdsOf(database, run);
    expect(second!.amount).toBeLessThan(first!.amount / 2);
    expect(third!.amount).toBeGreaterThan(first!.amount);
  });

  test("counting tokens answers the provider's count and costs nothing", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const { max_tokens: _max, ...body } = SMALL;
    const counted = await clientOf(url, run).messages.countTokens(body);
    expect(counted.input_tokens).toBeGreaterThan(0);
    expect(await holdsOf(database, run)).toEqual([]);
    expect(simulator.meter.report().calls).toEqual([]);
  });

  test("the beta client's requests are accepted, without the betas that an answer does not need", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database);
    const { data, response } = await clientOf(url, run)
      .beta.messages.create({
        ...SMALL,
        betas: ["interleaved-thinking-2025-05-14", "extended-cache-ttl-2025-04-11"],
      })
      .withResponse();
    expect(data.type).toBe("message");
    expect(response.headers.get("guildhall-dropped")).toBe("interleaved-thinking-2025-05-14");
  });

  test("a bearer token is as good as an API key", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database);
    const client = new Anthropic({
      baseURL: url,
      apiKey: null,
      authToken: run.token,
      maxRetries: 0,
    });
    expect((await client.messages.create(SMALL)).type).toBe("message");
  });
});

describe("what the gateway refuses", () => {
  test.each([
    ["no token", ""],
    ["a provider's key", "sk-ant-api03-abc"],
    ["a malformed run token", "ghr_ws_1.run_1.x.y"],
  ])("401 for %s", async (_what, token) => {
    const { url } = await startBoth(database);
    const response = await post(url, { token, body: SMALL });
    expect(response.status).toBe(401);
    expect(await response.json()).toMatchObject({
      type: "error",
      error: { type: "authentication_error", code: "run_token_required" },
      request_id: response.headers.get("request-id"),
    });
  });

  test.each([
    [
      "an earlier attempt",
      async (run: Awaited<ReturnType<typeof startRun>>) => {
        await claimRun(database.admin, run);
        return run.token;
      },
    ],
    [
      "a run that has ended",
      async (run: Awaited<ReturnType<typeof startRun>>) => {
        await database.admin.query(`SELECT end_task($1, $2, 'cancelled', 'test', NULL, '{}')`, [
          run.workspaceId,
          run.taskId,
        ]);
        return run.token;
      },
    ],
    [
      "a lease that ran out",
      async (run: Awaited<ReturnType<typeof startRun>>) => {
        await database.admin.query(
          `UPDATE runs SET lease_until = clock_now() - interval '1 second' WHERE id = $1`,
          [run.runId],
        );
        return run.token;
      },
    ],
    [
      "another secret",
      (run: Awaited<ReturnType<typeof startRun>>) =>
        Promise.resolve(run.token.slice(0, -4) + (run.token.endsWith("AAAA") ? "BBBB" : "AAAA")),
    ],
    [
      "another workspace",
      (run: Awaited<ReturnType<typeof startRun>>) =>
        Promise.resolve(run.token.replace(run.workspaceId, "ws_other")),
    ],
  ])("401 for the token of %s, for calls and for counting", async (_what, tokenOf) => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const token = await tokenOf(run);
    const { max_tokens: _max, ...counting } = SMALL;
    for (const request of [
      { body: SMALL },
      { body: counting, path: "/v1/messages/count_tokens" },
    ]) {
      const response = await post(url, { token, ...request });
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ error: { code: "run_not_active" } });
    }
    expect(simulator.meter.report().totals.calls).toBe(0);
    expect(await holdsOf(database, run)).toEqual([]);
  });

  test.each([
    "/v1/messages/batches",
    "//v1/messages",
    "/v1/messages/",
    "/v1/messages/../messages",
    "/v1/%6dessages",
    "/v1/messages?model=x",
    "/v1/files",
    "/v1/models",
    "/v1/complete",
    "/",
  ])("404 for %s", async (path) => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const { connect } = await import("node:net");
    const { hostname, port } = new URL(url);
    // By hand, for a client would tidy the path.
    const text = await new Promise<string>((resolve) => {
      const socket = connect(Number(port), hostname);
      let received = "";
      socket.on("data", (chunk) => (received += chunk.toString()));
      socket.on("close", () => resolve(received));
      socket.end(
        `POST ${path} HTTP/1.1\r\nhost: x\r\nx-api-key: ${run.token}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}`,
      );
    });
    expect(text).toMatch(/^HTTP\/1\.1 404 /);
    expect(text).toContain('"not_found_error"');
    expect(simulator.meter.report().totals.calls).toBe(0);
  });

  test("413 for a body above 32 MB, announced or not", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database);
    const announced = await post(url, { token: run.token, body: "x".repeat(33 * 1024 * 1024) });
    expect(announced.status).toBe(413);
    expect(await announced.json()).toMatchObject({ error: { type: "request_too_large" } });
    const megabyte = new Uint8Array(1024 * 1024).fill(120);
    const unannounced = await fetch(`${url}/v1/messages`, {
      method: "POST",
      headers: { "x-api-key": run.token },
      body: ReadableStream.from(Array.from({ length: 40 }, () => megabyte)),
      duplex: "half",
    }).catch((error: unknown) => error);
    // The answer may come while the client still sends: either it is read, or the connection is closed.
    if (unannounced instanceof Response) expect(unannounced.status).toBe(413);
    expect(await holdsOf(database, run)).toEqual([]);
  });

  test("a compressed body is refused before it is read", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database);
    const headers = { "content-encoding": "gzip" };
    const response = await post(url, { token: run.token, body: SMALL, headers });
    expect(response.status).toBe(400);
  });

  test("a model without a price is no model, and nothing leaves", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const error = await clientOf(url, run)
      .messages.create({ ...SMALL, model: "claude-unheard-of" })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Anthropic.BadRequestError);
    expect(error).toMatchObject({ status: 400, error: { error: { code: "model_not_priced" } } });
    expect(simulator.meter.report().totals.calls).toBe(0);
  });
});

describe("when the budget is used", () => {
  test("402 names the level and its figures, and the official client does not repeat it", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database, { workspaceBudget: 1_000_000 });
    const client = new Anthropic({ baseURL: url, apiKey: run.token, maxRetries: 5 });
    const startedAt = performance.now();
    const error = await client.messages.create(SMALL).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Anthropic.APIError);
    expect(error).toMatchObject({
      status: 402,
      error: {
        type: "error",
        error: {
          type: "budget_exhausted",
          code: "budget_exhausted",
          details: {
            meter: "model_cost",
            level: "workspace",
            scope_id: run.workspaceId,
            limit: 1_000_000,
            posted: 0,
            held: 0,
            needed: expect.any(Number),
            period: expect.stringMatching(/^\d{4}-\d\d$/),
            resets_at: expect.stringMatching(/-01T00:00:00\.000Z$/),
          },
        },
      },
    });
    // An exhausted budget is not waited for.
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(simulator.meter.report().totals.calls).toBe(0);
  });

  test("a call that does not fit is clamped to what is left, thinking budget included", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database, { workspaceBudget: 35_000_000 });
    const { response } = await clientOf(url, run)
      .messages.create({
        ...SMALL,
        max_tokens: 20_000,
        thinking: { type: "enabled", budget_tokens: 16_000 },
      })
      .withResponse();
    const max = Number(response.headers.get("guildhall-max-tokens"));
    expect(max).toBeGreaterThanOrEqual(2_048);
    expect(max).toBeLessThan(4_000);
    expect(response.headers.get("guildhall-clamped")).toBe("true");
    const [hold] = await holdsOf(database, run);
    expect(hold!.amount).toBeLessThanOrEqual(35_000_000);
  });

  test("a run that has made all its calls is told so", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database, { modelCallLimit: 1 });
    const client = clientOf(url, run);
    await client.messages.create(SMALL);
    await expect(client.messages.create(SMALL)).rejects.toMatchObject({
      status: 402,
      error: { error: { type: "call_limit_reached", details: { limit: 1 } } },
    });
  });
});

describe("a later attempt of the same run", () => {
  test.each([true, false])(
    "gets an answer that was paid for again, at no cost (stream: %s)",
    async (stream) => {
      const { url, simulator } = await startBoth(database);
      const run = await startRun(database);
      const body = { ...SMALL, stream };
      const first = await (await post(url, { token: run.token, body })).text();
      const next = await claimRun(database.admin, run);
      const again = await post(url, { token: next.token, body });
      expect(again.headers.get("guildhall-replayed")).toBe("true");
      expect(again.headers.get("guildhall-hold-id")).toBe((await holdsOf(database, run))[0]!.id);
      expect(await again.text()).toBe(first);
      expect(simulator.meter.report().totals.calls).toBe(1);
      expect(await holdsOf(database, run)).toHaveLength(1);
      // Once only: the second time it is a new call.
      const third = await post(url, { token: next.token, body });
      expect(third.headers.get("guildhall-replayed")).toBeNull();
      await third.text();
      expect(simulator.meter.report().totals.calls).toBe(2);
    },
  );

  test("another request is not answered from the journal, nor is the same request of another run", async () => {
    const { url } = await startBoth(database);
    const run = await startRun(database);
    await (await post(url, { token: run.token, body: SMALL })).text();
    const next = await claimRun(database.admin, run);
    const other = await post(url, { token: next.token, body: { ...SMALL, max_tokens: 1_999 } });
    expect(other.headers.get("guildhall-replayed")).toBeNull();
    await other.text();
    const stranger = await claimRun(database.admin, await startRun(database));
    const foreign = await post(url, { token: stranger.token, body: SMALL });
    expect(foreign.headers.get("guildhall-replayed")).toBeNull();
    await foreign.text();
  });
});

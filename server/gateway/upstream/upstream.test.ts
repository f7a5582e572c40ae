import { request } from "node:http";
import { Writable } from "node:stream";
import { pino } from "pino";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import {
  expectLaws,
  clientOf,
  holdsOf,
  post,
  PROVIDER_KEY,
  quiet,
  SMALL,
  startBoth,
  startGateway,
  startRun,
} from "../test/gateway-fixture.ts";
import { startFloodingUpstream, startOtherUpstream } from "../test/other-upstream.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));
const HAIKU = { ...SMALL, model: "claude-haiku-4-5" };
const TOOLS = [{ name: "look", input_schema: { type: "object" as const } }];

describe("another provider of the same protocol", () => {
  test.each([true, false])(
    "works unchanged and is charged exactly (stream: %s)",
    async (stream) => {
      const other = await startOtherUpstream();
      const { url } = await startGateway(database, { upstreamUrl: other.url });
      const run = await startRun(database);
      const { messages } = clientOf(url, run);
      const body = { ...HAIKU, tools: TOOLS };
      const message = stream
        ? await messages.stream(body).finalMessage()
        : await messages.create(body);
      expect(message.content).toMatchObject([
        { type: "text", text: expect.stringContaining("Grüße — event: message_delta\n") },
        { type: "tool_use", id: "call-1/7", input: { where: "здесь" } },
      ]);
      expect(await holdsOf(database, run)).toMatchObject([
        { state: "SETTLED", posted: other.costNanoUsd },
      ]);
      expect(other.seen[0]!.path).toBe("/proxy/anthropic/v1/messages");
    },
  );

  test("is sent the request that was priced, in the client's order, with what costs extra pinned", async () => {
    const other = await startOtherUpstream();
    const { url } = await startGateway(database, { upstreamUrl: other.url });
    const run = await startRun(database);
    const body =
      '{ "messages":[{"content":"\\u0068i","role":"user"}],\n "service_tier":"auto", "max_tokens":1500,"model":"claude-sonnet-5-5","speed":null,"diagnostics":null}';
    const response = await post(url, { token: run.token, body });
    await response.text();
    expect(other.seen[0]!.raw).toBe(
      '{"messages":[{"content":"hi","role":"user"}],"service_tier":"standard_only","max_tokens":1500,"model":"claude-sonnet-5-5","inference_geo":"global"}',
    );
    expect(response.headers.get("guildhall-dropped")).toBe("diagnostics,service_tier");
  });

  test("sees the provider's key and nothing of the client's headers", async () => {
    const other = await startOtherUpstream();
    const { url } = await startGateway(database, { upstreamUrl: other.url });
    const run = await startRun(database);
    const headers = {
      authorization: `Bearer ${run.token}`,
      cookie: "session=1",
      "x-forwarded-for": "10.0.0.1",
      "anthropic-beta": "prompt-caching-2024-07-31, claude-code-20250219",
      "anthropic-version": "2026-10-21",
    };
    await (await post(url, { token: run.token, body: HAIKU, headers })).text();
    const sent = other.seen[0]!.headers;
    expect(sent).toMatchObject({
      "x-api-key": PROVIDER_KEY,
      "anthropic-version": "2026-10-21",
      "anthropic-beta": "prompt-caching-2024-07-31",
      "accept-encoding": "identity",
    });
    expect(Object.keys(sent).toSorted()).toEqual([
      "accept-encoding",
      "anthropic-beta",
      "anthropic-version",
      "connection",
      "content-length",
      "content-type",
      "host",
      "user-agent",
      "x-api-key",
      "x-client-request-id",
    ]);
    const [hold] = await holdsOf(database, run);
    expect(sent["x-client-request-id"]).toBe(hold!.id);
    expect(JSON.stringify(sent)).not.toContain("ghr_");
  });
});

describe("a client that does not read", () => {
  const MEGABYTES = 40;

  test("slows the provider down instead of filling the gateway, and is let go; the charge is exact", async () => {
    const flood = await startFloodingUpstream(MEGABYTES * 1024 * 1024);
    const { url } = await startGateway(database, {
      upstreamUrl: flood.url,
      limits: { idleTimeoutMs: 1_000 },
    });
    const run = await startRun(database);
    const call = request(
      `${url}/v1/messages`,
      { method: "POST", headers: { "x-api-key": run.token }, agent: false },
      (response) => {
        // Connected, and never read: the buffers of both sockets fill up.
        response.on("error", () => {});
        response.pause();
      },
    );
    call.on("error", () => {});
    onTestFinished(() => void call.destroy());
    call.end(JSON.stringify({ ...HAIKU, stream: true }));
    // Full buffers: while the database is asked fifty times, the provider gets rid of nothing.
    for (let still = 0; still < 50;) {
      const before = flood.taken();
      await holdsOf(database, run);
      still = before > 0 && flood.taken() === before ? still + 1 : 0;
    }
    expect(flood.taken()).toBeLessThan(MEGABYTES * 1024 * 1024);
    await quiet(database, run);
    expect(flood.taken()).toBeGreaterThanOrEqual(MEGABYTES * 1024 * 1024);
    expect(await holdsOf(database, run)).toMatchObject([
      { state: "SETTLED", posted: 40_000 + 10_000 + 125_000 },
    ]);
  });
});

describe("secrets", () => {
  test.each([0, 400_000])(
    "an error event in a stream does not show the provider's key (before %i further bytes)",
    async (length) => {
      const message = `Grüße, your key is ${PROVIDER_KEY}${"x".repeat(length)}`;
      const { url } = await startBoth(database, {
        provider: { faults: [{ kind: "error_event", at: 3, message }] },
      });
      const run = await startRun(database);
      const response = await post(url, { token: run.token, body: { ...SMALL, stream: true } });
      const text = await response.text();
      expect(text).toContain("event: error");
      expect(text).toContain(`Grüße, your key is ***${"x".repeat(length)}`);
      expect(text).not.toContain(PROVIDER_KEY);
    },
  );

  test("neither the provider's key nor a run token nor content is in a log, an answer or the database", async () => {
    let logged = "";
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        logged += chunk.toString();
        done();
      },
    });
    const both = await startBoth(database, {
      log: pino({ level: "trace" }, sink),
      provider: {
        faults: [
          {
            kind: "status",
            status: 401,
            message: `invalid key ${PROVIDER_KEY}`,
            match: { nth: 1 },
          },
          {
            kind: "status",
            status: 400,
            message: `your key is ${PROVIDER_KEY}`,
            match: { nth: 2 },
          },
          { kind: "hang_up", match: { nth: 3 } },
          { kind: "cut", after_bytes: 500, match: { nth: 4 } },
          { kind: "usage", form: "missing", match: { nth: 5 } },
          { kind: "status", status: 500, match: { nth: 6 } },
        ],
      },
    });
    const run = await startRun(database);
    const secretText = "the launch code is 0000";
    const body = { ...SMALL, stream: true, messages: [{ role: "user", content: secretText }] };
    let answered = "";
    for (let call = 0; call < 7; call++) {
      const response = await post(both.url, { token: run.token, body }).catch(() => undefined);
      answered += JSON.stringify([...(response?.headers ?? [])]);
      if (call < 6) answered += await response?.text().catch(() => "");
      else await response?.text();
    }
    expect(logged).toContain("hold_id");
    const { rows } = await database.admin.query(
      "SELECT row_to_json(h) AS row FROM holds h WHERE workspace_id = $1 UNION ALL SELECT row_to_json(j) FROM journal j WHERE workspace_id = $1",
      [run.workspaceId],
    );
    expect(rows.length).toBeGreaterThan(7);
    const secret = run.token.split(".").at(-1)!;
    for (const place of [logged, answered, JSON.stringify(rows)]) {
      expect(place).not.toContain(PROVIDER_KEY);
      expect(place).not.toContain(secret);
      expect(place).not.toContain(secretText);
    }
  });
});

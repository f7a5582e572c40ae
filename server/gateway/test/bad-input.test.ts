import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { createTestDatabase } from "../../test/database.ts";
import { claimRun, createClaimedRun, createTenant, type ClaimedRun } from "../../test/tenant.ts";
import {
  balanceOf,
  clientOf,
  expectLaws,
  holdsOf,
  MODEL,
  post,
  quiet,
  SMALL,
  startBoth,
  startGateway,
  startRun,
} from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

/** Sends bytes as they are and reads the answer until the connection ends. */
function sendRaw(url: string, bytes: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    let received = "";
    socket.on("data", (chunk) => (received += chunk.toString()));
    socket.on("error", () => {});
    socket.on("close", () => resolve(received));
    socket.end(bytes);
  });
}

type Bad = {
  body?: unknown;
  headers?: Record<string, string>;
  path?: string;
  status?: number;
  code?: string;
  /** What the message begins with, or names. */
  names: string;
};

const text = (json: string): string =>
  `{"model":"${MODEL}","messages":[{"role":"user","content":"x"}]${json}}`;
const tool = (type: string, more: object = {}) => ({
  body: { ...SMALL, tools: [{ type, name: "t", ...more }] },
  names: `tools.0: `,
});
const beta = (name: string): Bad => ({
  headers: { "anthropic-beta": name },
  names: `anthropic-beta: "${name}"`,
});

const BAD: Record<string, Bad> = {
  "A50 max_tokens 10^9": { body: { ...SMALL, max_tokens: 1e9 }, names: "max_tokens: " },
  "A50 max_tokens 0": { body: { ...SMALL, max_tokens: 0 }, names: "max_tokens: " },
  "A50 max_tokens -1": { body: { ...SMALL, max_tokens: -1 }, names: "max_tokens: " },
  "A50 max_tokens 1e308": { body: text(',"max_tokens":1e308'), names: "max_tokens: " },
  "A50 max_tokens 1e400": { body: text(',"max_tokens":1e400'), names: "out of range" },
  "A50 max_tokens as text": { body: { ...SMALL, max_tokens: "5" }, names: "max_tokens: " },
  "A50 no max_tokens": { body: text(""), names: "max_tokens: " },
  "A50 NaN": { body: text(',"max_tokens":NaN'), names: "JSON" },
  "A50 a key twice": {
    body: text(',"max_tokens":1,"max_tokens":64000'),
    names: '"max_tokens" twice',
  },
  "A50 a key twice, once escaped": {
    body: text(',"max_tokens":1,"max_\\u0074okens":64000'),
    names: "twice",
  },
  "A50 a byte order mark": { body: `\uFEFF${text(',"max_tokens":5')}`, names: "byte order mark" },
  "A50 a compressed body": { headers: { "content-encoding": "gzip" }, names: "content-encoding: " },
  "A50 another type of body": {
    headers: { "content-type": "text/plain" },
    names: "content-type: ",
  },
  "A50 no body": { body: "", names: "JSON" },
  "A51 an alias": {
    body: { ...SMALL, model: "claude-sonnet-latest" },
    code: "model_not_priced",
    names: "claude-sonnet-latest",
  },
  "A51 a dated id that is not in the table": {
    body: { ...SMALL, model: `${MODEL}-20990101` },
    code: "model_not_priced",
    names: MODEL,
  },
  "A51 a trailing space": {
    body: { ...SMALL, model: `${MODEL} ` },
    code: "model_not_priced",
    names: MODEL,
  },
  "A51 another spelling": {
    body: { ...SMALL, model: MODEL.toUpperCase() },
    code: "model_not_priced",
    names: "CLAUDE",
  },
  "A51 a key of every object": {
    body: { ...SMALL, model: "__proto__" },
    code: "model_not_priced",
    names: "__proto__",
  },
  "A51 a model in fallbacks": {
    body: { ...SMALL, fallbacks: [{ model: "claude-opus-5-5" }] },
    names: "fallbacks: ",
  },
  "A51 an adviser": tool("advisor_20260301", { model: "claude-opus-5-5" }),
  "A52 an unknown beta": beta("made-up-2027-01-01"),
  "A52 fast mode, as a beta": beta("fast-mode-2026-02-01"),
  "A52 a compaction, as a beta": beta("compact-2026-01-12"),
  "A52 one bad beta behind a good one": {
    headers: { "anthropic-beta": "effort-2025-11-24,advisor-tool-2026-03-01" },
    names: "advisor-tool",
  },
  "A52 fast mode": { body: { ...SMALL, speed: "fast" }, names: "speed: " },
  "A52 another region": { body: { ...SMALL, inference_geo: "us" }, names: "inference_geo: " },
  "A52 a dearer tier": { body: { ...SMALL, service_tier: "priority" }, names: "service_tier: " },
  "A52 a lifetime without a price": {
    body: { ...SMALL, cache_control: { type: "ephemeral", ttl: "24h" } },
    names: "cache_control.ttl: ",
  },
  "A52 a summary": { body: { ...SMALL, compaction: { type: "summarize" } }, names: "compaction: " },
  "A52 turns that the provider keeps": {
    body: { ...SMALL, thread: { type: "create" } },
    names: "thread: ",
  },
  "A53 web search": tool("web_search_20250305"),
  "A53 web fetch": tool("web_fetch_20260318"),
  "A53 code execution": tool("code_execution_20260521"),
  "A53 a set of tools of a server": tool("mcp_toolset"),
  "A53 servers": {
    body: { ...SMALL, mcp_servers: [{ type: "url", url: "https://x.example", name: "x" }] },
    names: "mcp_servers: ",
  },
  "A53 a container": { body: { ...SMALL, container: "container_1" }, names: "container: " },
  "A08 a file of another tenant": {
    body: {
      ...SMALL,
      messages: [
        {
          role: "user",
          content: [{ type: "document", source: { type: "file", file_id: "file_1" } }],
        },
      ],
    },
    names: "messages.0.content.0.source.type: ",
  },
  "A08 a skill": {
    body: { ...SMALL, container: { skills: [{ skill_id: "s" }] } },
    names: "container: ",
  },
  "A54 batches": {
    path: "/v1/messages/batches",
    status: 404,
    code: "route_not_found",
    names: "Only POST",
  },
  "A54 files": { path: "/v1/files", status: 404, code: "route_not_found", names: "Only POST" },
  "A54 models": { path: "/v1/models", status: 404, code: "route_not_found", names: "Only POST" },
  "A54 the old endpoint": {
    path: "/v1/complete",
    status: 404,
    code: "route_not_found",
    names: "Only POST",
  },
  "A54 the administration": {
    path: "/v1/organizations/me",
    status: 404,
    code: "route_not_found",
    names: "Only POST",
  },
  "A62 nesting": {
    body: text(`,"max_tokens":5,"metadata":${"[".repeat(5_000)}${"]".repeat(5_000)}`),
    names: "nesting",
  },
  "A62 many keys": {
    body: text(
      `,"max_tokens":5,"metadata":{${Array.from({ length: 600_000 }, (_, n) => `"${n}":1`).join()}}`,
    ),
    names: "more than",
  },
};

describe("bad input is refused in the protocol's shape, with the field named, and leaves no hold behind", () => {
  test.each(Object.entries(BAD))("%s", async (_what, bad) => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const response = await post(url, { token: run.token, body: SMALL, ...bad });
    expect(response.status).toBe(bad.status ?? 400);
    const answer = (await response.json()) as { error: { message: string } };
    expect(answer).toMatchObject({
      type: "error",
      error: {
        type: bad.status === 404 ? "not_found_error" : "invalid_request_error",
        code: bad.code ?? "invalid_request",
      },
      request_id: expect.stringMatching(/^req_/),
    });
    expect(answer.error.message).toContain(bad.names);
    expect(await holdsOf(database, run)).toEqual([]);
    expect(await balanceOf(database, run)).toEqual({ posted: 0, held: 0 });
    expect(simulator.meter.report().totals.calls).toBe(0);
    // The gateway serves the next call as if nothing had been.
    const good = await post(url, { token: run.token, body: SMALL });
    expect(good.status).toBe(200);
    await good.text();
  });

  const HEAD = (run: ClaimedRun): string =>
    `POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: ${run.token}\r\nconnection: close\r\n`;
  const body = JSON.stringify(SMALL);
  test.each<[string, (run: ClaimedRun) => string | Buffer, number]>([
    [
      "two lengths",
      (run) => `${HEAD(run)}content-length: 2\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      400,
    ],
    [
      "a length and chunks",
      (run) => `${HEAD(run)}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
      400,
    ],
    [
      "broken chunks",
      (run) => `${HEAD(run)}transfer-encoding: chunked\r\n\r\nzz\r\n${body}\r\n0\r\n\r\n`,
      400,
    ],
    [
      "headers without end",
      (run) => `${HEAD(run)}x-filler: ${"x".repeat(64 * 1024)}\r\ncontent-length: 0\r\n\r\n`,
      431,
    ],
    ["no HTTP", () => "hello\r\n\r\n", 400],
    [
      "a compressed body that does not say so",
      (run) =>
        Buffer.concat([
          Buffer.from(`${HEAD(run)}content-length: ${gzipSync(body).length}\r\n\r\n`),
          gzipSync(body),
        ]),
      400,
    ],
    [
      "a doubled slash",
      (run) => `${HEAD(run).replace("/v1/messages", "//v1/messages")}content-length: 2\r\n\r\n{}`,
      404,
    ],
    [
      "a way around",
      (run) =>
        `${HEAD(run).replace("/v1/messages", "/v1/messages/../files")}content-length: 2\r\n\r\n{}`,
      404,
    ],
    [
      "an escaped way around",
      (run) =>
        `${HEAD(run).replace("/v1/messages", "/v1/messages/%2e%2e/files")}content-length: 2\r\n\r\n{}`,
      404,
    ],
    [
      "an absolute form",
      (run) =>
        `${HEAD(run).replace("/v1/messages", "http://x/v1/files")}content-length: 2\r\n\r\n{}`,
      404,
    ],
  ])("%s on the wire", async (_what, bytesOf, status) => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const received = await sendRaw(url, bytesOf(run));
    expect(received).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    const json = received.slice(received.indexOf("\r\n\r\n") + 4);
    expect(JSON.parse(json.slice(json.indexOf("{"), json.lastIndexOf("}") + 1))).toMatchObject({
      type: "error",
      error: { type: expect.any(String), message: expect.any(String), code: expect.any(String) },
    });
    expect(await holdsOf(database, run)).toEqual([]);
    expect(simulator.meter.report().totals.calls).toBe(0);
  });
});

describe("A49 a token is dead within one call", () => {
  const admin = database.admin;
  test.each<[string, (run: ClaimedRun) => Promise<unknown>]>([
    [
      "after its worker gave the run back",
      (run) => admin.query(`SELECT release_run($1, $2, 1, 'test')`, [run.workspaceId, run.runId]),
    ],
    [
      "after its task was cancelled",
      (run) =>
        admin.query(`SELECT end_task($1, $2, 'cancelled', 'test', NULL, '{}')`, [
          run.workspaceId,
          run.taskId,
        ]),
    ],
    ["after another worker took the run", (run) => claimRun(admin, run)],
  ])("%s", async (_what, end) => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const before = await post(url, { token: run.token, body: SMALL });
    expect(before.status).toBe(200);
    await before.text();
    await end(run);
    const after = await post(url, { token: run.token, body: { ...SMALL, max_tokens: 1_999 } });
    expect(after.status).toBe(401);
    expect(await after.json()).toMatchObject({
      type: "error",
      error: { type: "authentication_error", code: "run_not_active" },
    });
    expect(simulator.meter.report().totals.calls).toBe(1);
    expect(await holdsOf(database, run)).toHaveLength(1);
  });

  test("of another run of the same workspace is no better", async () => {
    const { url } = await startBoth(database);
    const tenant = await createTenant(database.admin, {});
    const options = { costLimitNanoUsd: 50_000_000_000 };
    const one = await createClaimedRun(database.admin, tenant, options);
    const other = await createClaimedRun(database.admin, tenant, options);
    const response = await post(url, {
      token: one.token.replace(one.runId, other.runId),
      body: SMALL,
    });
    expect(response.status).toBe(401);
    await response.text();
    expect(await holdsOf(database, tenant)).toEqual([]);
  });
});

describe("A55 counting tokens", () => {
  const counting = (n: number) => ({
    model: MODEL,
    messages: [{ role: "user", content: `question ${n}` }],
  });
  const count = (url: string, run: ClaimedRun, n: number) =>
    post(url, { token: run.token, body: counting(n), path: "/v1/messages/count_tokens" });

  test("too often is a 429 with a pause, for this run only, and equal questions are answered from memory", async () => {
    const { url, simulator } = await startBoth(database);
    const [run, other] = [await startRun(database), await startRun(database)];
    const statuses: number[] = [];
    for (let n = 0; n < 140; n++) {
      const response = await count(url, run, n);
      statuses.push(response.status);
      const answer: unknown = await response.json();
      if (response.status !== 429) continue;
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(answer).toMatchObject({
        error: { type: "rate_limit_error", code: "count_tokens_limited" },
      });
    }
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(120);
    expect(statuses).toContain(429);
    for (let n = 0; n < 5; n++) expect((await count(url, run, 0)).status).toBe(200);
    expect((await count(url, other, 0)).status).toBe(200);
    expect(simulator.meter.report().totals.calls).toBe(0);
    expect(await holdsOf(database, run)).toEqual([]);
  });

  test("A07 is remembered by workspace: what one asked tells another nothing", async () => {
    const { url, simulator } = await startBoth(database);
    const [run, stranger] = [await startRun(database), await startRun(database)];
    const first = await (await count(url, run, 1)).json();
    await simulator.close();
    expect(await (await count(url, run, 1)).json()).toEqual(first);
    // Not from the other's memory: the provider, which is away now, is asked.
    expect((await count(url, stranger, 1)).status).toBe(502);
  });
});

describe("A56 the last dollar", () => {
  test("of a new workspace, at two gateways at once, is never spent twice", async () => {
    const one = await startBoth(database, { limits: { budgetWaitMs: 5_000 } });
    const two = await startGateway(database, {
      upstreamUrl: one.providerUrl,
      limits: { budgetWaitMs: 5_000 },
    });
    const budget = 30_000_000;
    const tenant = await createTenant(database.admin, { costLimitNanoUsd: budget });
    const runs = await Promise.all(
      Array.from({ length: 8 }, () =>
        createClaimedRun(database.admin, tenant, { costLimitNanoUsd: 50_000_000_000 }),
      ),
    );
    // Not one budget row exists yet: all first calls come at the same time.
    const statuses = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const response = await post(n % 2 === 0 ? one.url : two.url, {
          token: runs[n % 8]!.token,
          body: { ...SMALL, max_tokens: 1_024 },
        });
        await response.text();
        return response.status;
      }),
    );
    const { totals } = one.simulator.meter.report();
    await quiet(database, tenant);
    expect(new Set(statuses)).toEqual(new Set([200, 402]));
    expect(totals.cost_nano_usd).toBeLessThanOrEqual(budget);
    expect(await balanceOf(database, tenant)).toEqual({ posted: totals.cost_nano_usd, held: 0 });
  }, 180_000);
});

describe("A58 text that looks like usage", () => {
  test("in a question, a tool result and the answer that repeats it changes no charge", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const echo =
      'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":0}}\n\nevent: message_stop\ndata: {}\n\n';
    for (const stream of [true, false]) {
      const response = await post(url, {
        token: run.token,
        body: { ...SMALL, stream, messages: [{ role: "user", content: echo }] },
      });
      expect(await response.text()).toContain("output_tokens");
    }
    const holds = await quiet(database, run);
    const { calls } = simulator.meter.report();
    expect(holds.map(({ posted }) => posted)).toEqual(calls.map((call) => call.cost_nano_usd));
    for (const { output_tokens: output } of calls) expect(output).toBeGreaterThan(20);
  });
});

describe("A60 an idempotency key", () => {
  test("of any length is no key here: equal calls are two calls, of other tenants too", async () => {
    const { url, simulator } = await startBoth(database);
    const [run, other] = [await startRun(database), await startRun(database)];
    const headers = { "idempotency-key": "k".repeat(10_000) };
    for (const one of [run, run, other]) {
      const response = await post(url, { token: one.token, body: SMALL, headers });
      expect(response.status).toBe(200);
      expect(response.headers.get("guildhall-replayed")).toBeNull();
      await response.text();
    }
    expect(simulator.meter.report().totals.calls).toBe(3);
  });
});

describe("the official client", () => {
  test("goes on without a thread when it is told that there are none here", async () => {
    const { url, simulator } = await startBoth(database);
    const run = await startRun(database);
    const seen: number[] = [];
    const add = betaZodTool({
      name: "add",
      description: "Adds.",
      inputSchema: z.object({}),
      run: () => String(seen.push(1)),
    });
    const final = await clientOf(url, run).beta.messages.toolRunner({
      ...SMALL,
      tools: [add],
      max_iterations: 3,
    });
    expect(final.stop_reason).toBe("end_turn");
    expect(simulator.meter.report().totals.calls).toBe(1);
    expect(await quiet(database, run)).toMatchObject([{ state: "SETTLED" }]);
  });

  test.each([
    ["a budget that is used", { workspaceBudget: 1_000 }, "budget_exhausted"],
    ["calls that are used up", { modelCallLimit: 1 }, "call_limit_reached"],
  ])(
    "reads a 402 for %s, streamed or not, and does not repeat it",
    async (_what, options, type) => {
      const { url } = await startBoth(database);
      const run = await startRun(database, options);
      const client = new Anthropic({
        baseURL: url,
        apiKey: run.token,
        maxRetries: 3,
        logLevel: "off",
      });
      if ("modelCallLimit" in options) await client.messages.create(SMALL);
      const before = (await holdsOf(database, run)).length;
      for (const call of [
        () => client.messages.create(SMALL),
        () => client.messages.stream(SMALL).finalMessage(),
        () => client.beta.messages.create(SMALL),
      ])
        await expect(call()).rejects.toSatisfy(
          (error) =>
            error instanceof Anthropic.APIError &&
            error.status === 402 &&
            error.type === type &&
            error.message.includes(String(error.status)),
        );
      expect(await holdsOf(database, run)).toHaveLength(before);
    },
  );
});

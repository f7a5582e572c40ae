import { createServer } from "node:http";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import type { Ledger } from "../../ledger/ledger.ts";
import { AppError } from "../../platform/errors.ts";
import { findPrice } from "../request/prices.ts";
import { createTestDatabase } from "../../test/database.ts";
import {
  balanceOf,
  expectLaws,
  post,
  quiet,
  startGateway,
  startRun,
  SMALL,
} from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

/** A provider that answers every call with this status and message. */
async function startFixedUpstream(answer: {
  status?: number;
  usage: object | string;
  headers?: Record<string, string>;
}): Promise<string> {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(answer.status ?? 200, {
      "content-type": "application/json",
      ...answer.headers,
    });
    const usage = typeof answer.usage === "string" ? answer.usage : JSON.stringify(answer.usage);
    response.end(
      JSON.stringify({
        id: "msg_1",
        type: "message",
        role: "assistant",
        model: SMALL.model,
        content: [{ type: "text", text: "Done." }],
        stop_reason: "end_turn",
        usage: 0,
      }).replace('"usage":0', () => `"usage":${usage}`),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return `http://127.0.0.1:${address !== null && typeof address === "object" ? address.port : 0}`;
}

async function callTo(upstreamUrl: string, ledger?: (ledger: Ledger) => Ledger) {
  const { url } = await startGateway(database, {
    upstreamUrl,
    ...(ledger === undefined ? {} : { ledger }),
  });
  const run = await startRun(database);
  const response = await post(url, { token: run.token, body: SMALL });
  await response.text();
  return { run, response };
}

test.each(["\u0000", "\ud83d", `${"x".repeat(59)}\u{1f600}`])(
  "a usage that the database cannot keep as it is does not leave its hold open: %j",
  async (name) => {
    const upstream = await startFixedUpstream({
      usage: { input_tokens: 10, output_tokens: 5, [name]: 3 },
    });
    const { run, response } = await callTo(upstream);
    expect(response.status).toBe(200);
    const [hold] = await quiet(database, run);
    // What it names has no price, so the outcome counts as unknown.
    expect(hold).toMatchObject({ state: "PROVISIONAL", posted: hold!.amount });
    expect(await balanceOf(database, run)).toEqual({ posted: hold!.amount, held: 0 });
  },
);

describe("F27 odd usage over HTTP", () => {
  const exact = 10 * 2_000 + 5 * 10_000;
  test.each<[string, object | null, "SETTLED" | "PROVISIONAL"]>([
    ["plain", { input_tokens: 10, output_tokens: 5 }, "SETTLED"],
    [
      "in iterations only",
      { iterations: [{ type: "message", input_tokens: 10, output_tokens: 5 }] },
      "SETTLED",
    ],
    [
      "in iterations and at the top",
      {
        input_tokens: 10,
        output_tokens: 5,
        iterations: [{ type: "message", input_tokens: 10, output_tokens: 5 }],
      },
      "SETTLED",
    ],
    [
      "of another model in iterations",
      {
        input_tokens: 10,
        output_tokens: 5,
        iterations: [{ type: "message", model: "claude-opus-5-5", input_tokens: 1 }],
      },
      "PROVISIONAL",
    ],
    ["missing", {}, "PROVISIONAL"],
    ["null", null, "PROVISIONAL"],
    ["without input", { output_tokens: 5 }, "PROVISIONAL"],
    ["without output", { input_tokens: 10 }, "PROVISIONAL"],
    ["null inside", { input_tokens: 10, output_tokens: null }, "PROVISIONAL"],
    ["negative", { input_tokens: -10, output_tokens: 5 }, "PROVISIONAL"],
    ["a fraction", { input_tokens: 10.5, output_tokens: 5 }, "PROVISIONAL"],
    ["text", { input_tokens: "10", output_tokens: 5 }, "PROVISIONAL"],
    ["10^15 (A59)", { input_tokens: 1e15, output_tokens: 5 }, "PROVISIONAL"],
    ["beyond doubles (A59)", { input_tokens: 2 ** 53, output_tokens: 5 }, "PROVISIONAL"],
    ["fast", { input_tokens: 10, output_tokens: 5, speed: "fast" }, "PROVISIONAL"],
    [
      "a server tool",
      { input_tokens: 10, output_tokens: 5, server_tool_use: { web_search_requests: 2 } },
      "PROVISIONAL",
    ],
  ])("%s", async (_what, usage, state) => {
    const { run } = await callTo(await startFixedUpstream({ usage: JSON.stringify(usage) }));
    const [hold] = await quiet(database, run);
    const posted = state === "SETTLED" ? exact : hold!.amount;
    expect(hold).toMatchObject({ state, posted, overrun: 0 });
    expect(await balanceOf(database, run)).toEqual({ posted, held: 0 });
  });

  test("ten times too large costs the tenant no more than was held", async () => {
    const usage = { input_tokens: 100_000, output_tokens: 20_000 };
    const { run } = await callTo(await startFixedUpstream({ usage }));
    const [hold] = await quiet(database, run);
    expect(hold).toMatchObject({ state: "SETTLED", posted: hold!.amount });
    expect(hold!.amount + hold!.overrun).toBe(100_000 * 2_000 + 20_000 * 10_000);
  });
});

test("an answer that is compressed although nobody asked for it is charged as held, and not passed on", async () => {
  const { run, response } = await callTo(
    await startFixedUpstream({ usage: {}, headers: { "content-encoding": "gzip" } }),
  );
  expect(response.status).toBe(502);
  expect(await quiet(database, run)).toMatchObject([{ state: "PROVISIONAL" }]);
});

test.each([201, 202, 206])(
  "an answer with status %i may have been worked for, so it is charged as held",
  async (status) => {
    const upstream = await startFixedUpstream({
      status,
      usage: { input_tokens: 10, output_tokens: 5 },
    });
    const { run, response } = await callTo(upstream);
    expect(response.status).toBe(502);
    const [hold] = await quiet(database, run);
    expect(hold).toMatchObject({ state: "PROVISIONAL", posted: hold!.amount });
  },
);

const PLAIN = { usage: { input_tokens: 10, output_tokens: 5 } };

test("a database that is away for long loses neither the answer nor its usage", async () => {
  let away = 6;
  const { run, response } = await callTo(await startFixedUpstream(PLAIN), (ledger) => ({
    ...ledger,
    async settle(settlement) {
      if (away-- > 0)
        throw new AppError({
          code: "database_unavailable",
          status: 503,
          publicMessage: "The database cannot be reached right now.",
          retryable: true,
        });
      return ledger.settle(settlement);
    },
  }));
  expect(response.status).toBe(200);
  expect(await quiet(database, run)).toMatchObject([
    { state: "SETTLED", usage: { input_tokens: 10, output_tokens: 5 } },
  ]);
  const stored = await database.admin.query("SELECT FROM journal WHERE run_id = $1", [run.runId]);
  expect(stored.rowCount).toBe(1);
});

test("what the database refuses to keep of an answer does not keep its hold open", async () => {
  const { run, response } = await callTo(await startFixedUpstream(PLAIN), (ledger) => ({
    ...ledger,
    async settle(settlement) {
      if (settlement.usage !== undefined) throw new Error("no such usage");
      return ledger.settle(settlement);
    },
  }));
  expect(response.status).toBe(200);
  expect(await quiet(database, run)).toMatchObject([{ state: "SETTLED", usage: null }]);
});

test("a usage that is nested without end does not leave its hold open", async () => {
  // Parsed without recursion, but not looked through without it.
  const deep = `${"[".repeat(200_000)}1${"]".repeat(200_000)}`;
  const upstream = await startFixedUpstream({
    usage: `{"input_tokens":10,"output_tokens":5,"odd":${deep}}`,
  });
  const { run, response } = await callTo(upstream);
  expect(response.status).toBe(200);
  const [hold] = await quiet(database, run);
  expect(hold).toMatchObject({ state: "PROVISIONAL", posted: hold!.amount });
});

test("an attempt that fails in an unforeseen way is charged as held, and the client gets an error at once", async () => {
  const run = await startRun(database);
  const upstream = await startFixedUpstream(PLAIN);
  const { url } = await startGateway(database, {
    upstreamUrl: upstream,
    // Thrown in the middle of the attempt, after the request has left: looked at by nobody before.
    findPrice: (id) => {
      const price = findPrice(id);
      if (price === undefined) return undefined;
      let looked = 0;
      return Object.defineProperty({ ...price }, "longPrompt", {
        get() {
          looked += 1;
          if (looked > 2) throw new Error("unforeseen");
          return undefined;
        },
      });
    },
  });
  const response = await post(url, { token: run.token, body: SMALL });
  expect(response.status).toBe(500);
  expect(await response.json()).toMatchObject({
    type: "error",
    error: { type: "api_error", code: "internal_error" },
  });
  const [hold] = await quiet(database, run);
  expect(hold).toMatchObject({ state: "PROVISIONAL", posted: hold!.amount });
  expect(hold!.usage).toMatchObject({ unknown: "the gateway failed at this call" });
});

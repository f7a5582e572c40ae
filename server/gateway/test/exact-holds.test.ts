import { createServer } from "node:http";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import {
  expectLaws,
  holdsOf,
  MODEL,
  post,
  quiet,
  startBoth,
  startGateway,
  startRun,
} from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

const BODY = {
  model: MODEL,
  max_tokens: 100,
  messages: [{ role: "user", content: "Some words that are counted. ".repeat(500) }],
};
const TEXT_BYTES = BODY.messages[0]!.content.length;

describe("exact mode", () => {
  test("holds little more than the call costs, where bytes would hold four times as much", async () => {
    const exact = await startBoth(database, { exactHolds: true });
    const run = await startRun(database);
    await (await post(exact.url, { token: run.token, body: BODY })).text();
    const [hold] = await holdsOf(database, run);
    const [call] = exact.simulator.meter.report().calls;
    expect(hold).toMatchObject({ state: "SETTLED", posted: call!.cost_nano_usd, overrun: 0 });
    const inputHeld = hold!.amount - 100 * 10_000;
    expect(inputHeld).toBeLessThan(call!.input_tokens * 2_000 * 1.1);
    expect(inputHeld).toBeLessThan((TEXT_BYTES * 2_000) / 3);
  });

  test("holds by bytes when the provider does not count", async () => {
    const { url, simulator } = await startBoth(database, {
      exactHolds: true,
      provider: { apiKey: "another key" },
    });
    const run = await startRun(database);
    const response = await post(url, { token: run.token, body: BODY });
    expect(response.status).toBe(502);
    const [hold] = await holdsOf(database, run);
    expect(hold!.amount).toBeGreaterThan(TEXT_BYTES * 2_000);
    expect(simulator.meter.report().totals.cost_nano_usd).toBe(0);
  });

  test("leaves what the count missed to the platform, and does not stop the model for it", async () => {
    const upstream = await startUndercounting();
    const { url } = await startGateway(database, { upstreamUrl: upstream, exactHolds: true });
    const run = await startRun(database);
    for (const round of [1, 2]) {
      const response = await post(url, {
        token: run.token,
        body: { ...BODY, max_tokens: 99 + round },
      });
      expect(response.status).toBe(200);
      await response.text();
    }
    const holds = await quiet(database, run);
    for (const hold of holds) {
      expect(hold).toMatchObject({ state: "SETTLED", posted: hold.amount });
      expect(hold.amount + hold.overrun).toBe(3_000 * 2_000 + 5 * 10_000);
    }
    expect(holds).toHaveLength(2);
  });

  test("asks the provider for no token that is not valid", async () => {
    const { url } = await startBoth(database, { exactHolds: true });
    const run = await startRun(database);
    const forged = `${run.token.slice(0, -4)}AAAA`;
    const response = await post(url, { token: forged, body: BODY });
    expect(response.status).toBe(401);
    expect(await holdsOf(database, run)).toEqual([]);
  });
});

/** A provider that counts 10 tokens and bills 3,000. */
async function startUndercounting(): Promise<string> {
  const server = createServer((request, response) => {
    request.resume();
    response.setHeader("content-type", "application/json");
    const counting = request.url?.endsWith("count_tokens") ?? false;
    const message = {
      id: "msg_1",
      type: "message",
      role: "assistant",
      model: MODEL,
      content: [{ type: "text", text: "Done." }],
      stop_reason: "end_turn",
      usage: { input_tokens: 3_000, output_tokens: 5 },
    };
    response.end(JSON.stringify(counting ? { input_tokens: 10 } : message));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return `http://127.0.0.1:${address !== null && typeof address === "object" ? address.port : 0}`;
}

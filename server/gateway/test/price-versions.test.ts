import { afterAll, expect, test } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { priceLists } from "../request/price-table.ts";
import { costOf, priceIn } from "../request/prices.ts";
import { expectLaws, MODEL, post, quiet, startBoth, startRun } from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

const CALLS = 100;

test("tables that are switched under load leave each charge at the price that its hold was made with", async () => {
  let turn = 0;
  const versions = priceLists.slice(-2).map(({ version }) => version);
  const { url } = await startBoth(database, {
    findPrice: (id) => priceIn(versions[turn % versions.length]!, id),
    provider: { latency: { firstByteMs: 2, perEventMs: 1 } },
  });
  const run = await startRun(database, { modelCallLimit: 10_000 });
  const switching = setInterval(() => (turn += 1), 3);
  const body = {
    model: MODEL,
    max_tokens: 30,
    stream: true,
    system: [
      { type: "text", text: "Cached words. ".repeat(500), cache_control: { type: "ephemeral" } },
    ],
    messages: [{ role: "user", content: "Say something." }],
  };
  let left = CALLS;
  const caller = async (): Promise<void> => {
    while (left-- > 0) {
      const response = await post(url, { token: run.token, body });
      expect(response.status).toBe(200);
      await response.text();
    }
  };
  await Promise.all([caller(), caller(), caller(), caller()]);
  clearInterval(switching);
  await quiet(database, run);
  const { rows } = await database.admin.query<{
    model: string;
    price_version: string;
    posted: string;
    usage: Record<string, number>;
  }>("SELECT model, price_version, posted, usage FROM holds WHERE workspace_id = $1", [
    run.workspaceId,
  ]);
  expect(rows).toHaveLength(CALLS);
  const used = new Set(rows.map((row) => row.price_version));
  expect([...used].toSorted()).toEqual(versions);
  for (const { model, price_version: version, posted, usage } of rows)
    expect(Number(posted)).toBe(
      costOf(priceIn(version, model)!, {
        inputTokens: usage["input_tokens"]!,
        cacheWrite5mTokens: usage["cache_creation_5m_input_tokens"]!,
        cacheWrite1hTokens: usage["cache_creation_1h_input_tokens"]!,
        cacheReadTokens: usage["cache_read_input_tokens"]!,
        outputTokens: usage["output_tokens"]!,
      }),
    );
  // The two versions differ in what a read of the cache costs, so the charges do too.
  expect(new Set(rows.map((row) => row.posted)).size).toBeGreaterThanOrEqual(2);
}, 120_000);

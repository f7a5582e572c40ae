import { createServer } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { priceListJson } from "../../../simulator/metering/prices.ts";
import { checkPrices, type PriceCheck } from "./price-check.ts";
import { priceLists } from "./price-table.ts";
import type { ModelPrice } from "./model-price.ts";
import { loadPublished, parsePublished } from "./published-prices.ts";

const newest = priceLists.at(-1)!;
const TODAY = "2026-11-25";

function check(changes: Partial<PriceCheck> = {}) {
  return checkPrices({
    lists: priceLists,
    published: [],
    today: TODAY,
    maxAgeDays: 90,
    ...changes,
  });
}

/** The newest version with one model changed. */
function changed(id: string, change: (price: ModelPrice) => object): PriceCheck["lists"] {
  const prices = newest.prices.map((price) =>
    price.id === id ? { ...price, ...change(price) } : price,
  );
  return [...priceLists.slice(0, -1), { ...newest, prices }];
}

const simulated = { ...parsePublished("simulated", priceListJson()), complete: true };

describe("the price table", () => {
  test("has nothing wrong in it, and agrees with the simulated provider's own list", () => {
    expect(check({ published: [simulated] })).toEqual([]);
  });

  test("keeps its old versions, so that a line can be recomputed from the one that its hold names", () => {
    expect(priceLists.length).toBeGreaterThan(1);
    for (const { version, prices } of priceLists)
      for (const price of prices) expect(price.version).toBe(version);
    const [before, after] = priceLists.map(
      ({ prices }) => prices.find(({ id }) => id === "claude-sonnet-5-5")!.rates.cacheReadNanoUsd,
    );
    expect([before, after]).toEqual([200, 100]);
  });
});

describe("the check finds", () => {
  const SONNET = "claude-sonnet-5-5";
  const HAIKU = "claude-haiku-5-5";
  const withRates = (rates: object) =>
    changed(SONNET, (price) => ({ rates: { ...price.rates, ...rates } }));
  const withLong = (long: object) =>
    changed(HAIKU, ({ longPrompt }) => ({ longPrompt: { ...longPrompt!, ...long } }));

  test.each([
    ["a fraction", withRates({ inputNanoUsd: 1.5 }), /input is 1.5/],
    ["a price of nothing", withRates({ outputNanoUsd: 0 }), /output is 0/],
    ["a negative price", withRates({ outputNanoUsd: -1 }), /output is -1/],
    [
      "a read that is not cheaper",
      withRates({ cacheReadNanoUsd: 2_000 }),
      /cache read is not cheaper/,
    ],
    ["a write that is cheaper", withRates({ cacheWrite5mNanoUsd: 1 }), /input is not cheaper/],
    ["lifetimes mixed up", withRates({ cacheWrite1hNanoUsd: 2_500 }), /5 minutes\) is not cheaper/],
    ["no window", changed(SONNET, () => ({ contextWindowTokens: 0 })), /contextWindowTokens is 0/],
    ["no source", changed(SONNET, () => ({ source: "" })), /no source/],
    ["an impossible day", changed(SONNET, () => ({ date: "24 Oct" })), /"24 Oct" is no day/],
    ["a day to come", changed(SONNET, () => ({ date: "2027-01-01" })), /which is to come/],
    ["a price of another version", changed(SONNET, () => ({ version: "x" })), /it is of x/],
    [
      "a long prompt that is cheaper",
      withLong({
        rates: { ...newest.prices.find(({ id }) => id === HAIKU)!.rates, outputNanoUsd: 1 },
      }),
      /cheaper than for short ones/,
    ],
    [
      "a mark beyond the window",
      withLong({ aboveInputTokens: 2_000_000 }),
      /outside the context window/,
    ],
    [
      "two prices",
      [{ ...newest, prices: [...newest.prices, newest.prices[0]!] }],
      /has two prices/,
    ],
    ["versions out of order", priceLists.toReversed(), /does not come after/],
  ])("%s", (_what, lists, message) => {
    const errors = check({ lists }).filter(({ level }) => level === "error");
    expect(errors.map((finding) => finding.message)).toEqual(
      expect.arrayContaining([expect.stringMatching(message)]),
    );
  });

  test("sources that were read too long ago", () => {
    expect(check({ today: "2027-03-01" })).toHaveLength(newest.prices.length);
    expect(check({ today: "2027-03-01", maxAgeDays: 365 })).toEqual([]);
  });

  test("a model of the simulated provider that has no price", () => {
    const prices = newest.prices.filter(({ id }) => id !== SONNET);
    const lists = [...priceLists.slice(0, -1), { ...newest, prices }];
    expect(check({ lists, published: [simulated] })).toEqual([
      expect.objectContaining({ level: "error", model: SONNET }),
    ]);
  });

  test("what a published list says differently, in either form, and models that only it has", async () => {
    const own = JSON.parse(JSON.stringify(priceListJson())) as {
      models: Record<string, unknown>[];
    };
    const sonnet = own.models.find(({ id }) => id === SONNET)!;
    sonnet["output_nano_usd"] = 11_000;
    const haiku = own.models.find(({ id }) => id === HAIKU)! as {
      long_prompt: Record<string, number>;
    };
    haiku.long_prompt["input_nano_usd"] = 600;
    own.models.push({ ...sonnet, id: "claude-new-9" });
    const found = check({ published: [{ ...parsePublished("list", own), complete: false }] });
    expect(found.map(({ level, model, message }) => [level, model, message])).toEqual([
      ["error", SONNET, "output is 10000 nano-USD a token, published: 11000 (list)"],
      ["error", HAIKU, "long prompts: input is 500 nano-USD a token, published: 600 (list)"],
      ["warning", "claude-new-9", "is not in the table, but in list"],
    ]);

    const community = {
      sample_spec: { input_cost_per_token: "a number" },
      "claude-sonnet-5-5": {
        input_cost_per_token: 2e-6,
        output_cost_per_token: 1e-5,
        cache_creation_input_token_cost: 2.5e-6,
        cache_read_input_token_cost: 2e-7,
      },
      "gpt-9": { input_cost_per_token: 1 },
    };
    const { sample_spec: _sample, ...list } = community;
    const server = createServer((_request, response) => response.end(JSON.stringify(list)));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const address = server.address() as { port: number };
    const loaded = await loadPublished(`http://127.0.0.1:${address.port}/prices.json`);
    expect(check({ published: [{ ...loaded, complete: false }] })).toMatchObject([
      {
        model: SONNET,
        message: expect.stringContaining("cache read is 100 nano-USD a token, published: 200"),
      },
    ]);
  });

  test.each(["{}", "[]", "no JSON", '{"models":[{"id":"x"}]}'])(
    "that a list cannot be read: %s",
    async (text) => {
      const server = createServer((_request, response) => response.end(text));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      onTestFinished(() => void server.close());
      const address = server.address() as { port: number };
      await expect(loadPublished(`http://127.0.0.1:${address.port}/`)).rejects.toMatchObject({
        code: "price_list_unreadable",
      });
    },
  );
});

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";
import * as simulated from "../../../simulator/metering/prices.ts";
import { costOf, findPrice, modelPrices } from "./prices.ts";

describe("price table", () => {
  test("ids are exact: spaces, case and prefixes are other models", () => {
    expect(findPrice("claude-sonnet-4-5")).toBeDefined();
    for (const id of [
      " claude-sonnet-4-5",
      "claude-sonnet-4-5 ",
      "Claude-Sonnet-4-5",
      "claude-sonnet",
      "",
      "__proto__",
    ])
      expect(findPrice(id)).toBeUndefined();
  });

  test("every price is a positive integer, and reads are cheaper than writes", () => {
    for (const price of modelPrices)
      for (const rates of [price.rates, price.longPrompt?.rates ?? price.rates]) {
        for (const rate of Object.values(rates))
          expect(Number.isSafeInteger(rate) && rate > 0).toBe(true);
        expect(rates.cacheReadNanoUsd).toBeLessThan(rates.inputNanoUsd);
        expect(rates.inputNanoUsd).toBeLessThan(rates.cacheWrite5mNanoUsd);
      }
  });

  test("the simulated provider, which has its own list, charges the same for the models that both know", () => {
    const tokens = {
      inputTokens: 1_234,
      cacheWrite5mTokens: 77,
      cacheWrite1hTokens: 5,
      cacheReadTokens: 98_765,
      outputTokens: 4_321,
    };
    const shared = modelPrices.filter(({ id }) => simulated.findModel(id) !== undefined);
    expect(shared.length).toBeGreaterThanOrEqual(8);
    for (const price of shared) {
      const model = simulated.findModel(price.id)!;
      for (const scale of [1, 3])
        expect(costOf(price, { ...tokens, inputTokens: tokens.inputTokens * scale })).toBe(
          simulated.costOf(model, { ...tokens, inputTokens: tokens.inputTokens * scale }),
        );
      expect(price.contextWindowTokens).toBe(model.contextWindowTokens);
      expect(price.maxOutputTokens).toBe(model.maxOutputTokens);
    }
  });

  test("every priced model is one that the official client knows", async () => {
    const types = await readFile(
      createRequire(import.meta.url)
        .resolve("@anthropic-ai/sdk/resources/messages/messages")
        .replace(/\.m?js$/, ".d.ts"),
      "utf8",
    );
    for (const { id } of modelPrices) expect(types).toContain(`'${id}'`);
  });

  test("the dearest call that the table allows is far from the end of the safe integers", () => {
    for (const price of modelPrices) {
      const most = price.contextWindowTokens * price.rates.cacheWrite1hNanoUsd;
      expect(most + price.maxOutputTokens * price.rates.outputNanoUsd).toBeLessThan(
        Number.MAX_SAFE_INTEGER / 1_000,
      );
    }
  });
});

import type { ModelPrice } from "./model-price.ts";
import { ratesFor } from "./prices.ts";

/** The most that a call can cost, in the two parts that a reservation needs; integers. */
export type WorstCase = { inputNanoUsd: number; outputNanoUsdPerToken: number };

/**
 * Prices an upper bound of input tokens at the dearest rate that the request can be billed at: all of it could be
 * written into the cache with the longest lifetime that it asks for. Output is billed at the rate of the same prompt.
 */
export function worstCase(
  price: ModelPrice,
  input: { tokens: number; largestTtl: "5m" | "1h" | undefined },
): WorstCase {
  const rates = ratesFor(price, input.tokens);
  const dearest = Math.max(
    rates.inputNanoUsd,
    input.largestTtl === undefined ? 0 : rates.cacheWrite5mNanoUsd,
    input.largestTtl === "1h" ? rates.cacheWrite1hNanoUsd : 0,
  );
  return {
    inputNanoUsd: input.tokens * dearest,
    outputNanoUsdPerToken: rates.outputNanoUsd,
  };
}

import type { ModelPrice, Rates } from "./model-price.ts";
import { priceLists } from "./price-table.ts";

const PRICE_OF: ReadonlyMap<string, ReadonlyMap<string, ModelPrice>> = new Map(
  priceLists.map(({ version, prices }) => [
    version,
    new Map(prices.map((price) => [price.id, price])),
  ]),
);

/** The version that calls are made with. */
export const PRICE_VERSION = priceLists.at(-1)?.version ?? "";

/** Every model that is priced now. */
export const modelPrices: readonly ModelPrice[] = priceLists.at(-1)?.prices ?? [];

/** The price that a version of the table gives to a model; a line is recomputed with the one its hold was made with. */
export function priceIn(version: string, id: string): ModelPrice | undefined {
  return PRICE_OF.get(version)?.get(id);
}

/** Gives the price of a model by its exact id; undefined means `model_not_priced`. */
export type FindPrice = (id: string) => ModelPrice | undefined;

/** The price that is in force now. */
export const findPrice: FindPrice = (id) => priceIn(PRICE_VERSION, id);

/** Tokens of one call by kind, all integers. Kinds do not overlap: their sum over the inputs is the whole prompt. */
export type BilledTokens = {
  inputTokens: number;
  cacheWrite5mTokens: number;
  cacheWrite1hTokens: number;
  cacheReadTokens: number;
  outputTokens: number;
};

/** The rates that apply to a prompt of so many tokens. */
export function ratesFor(price: ModelPrice, promptTokens: number): Rates {
  const long = price.longPrompt;
  return long !== undefined && promptTokens > long.aboveInputTokens ? long.rates : price.rates;
}

/** What the provider charges for these tokens, nano-USD. Integers in, an integer out: nothing is rounded. */
export function costOf(price: ModelPrice, tokens: BilledTokens): number {
  const rate = ratesFor(
    price,
    tokens.inputTokens +
      tokens.cacheWrite5mTokens +
      tokens.cacheWrite1hTokens +
      tokens.cacheReadTokens,
  );
  return (
    tokens.inputTokens * rate.inputNanoUsd +
    tokens.cacheWrite5mTokens * rate.cacheWrite5mNanoUsd +
    tokens.cacheWrite1hTokens * rate.cacheWrite1hNanoUsd +
    tokens.cacheReadTokens * rate.cacheReadNanoUsd +
    tokens.outputTokens * rate.outputNanoUsd
  );
}

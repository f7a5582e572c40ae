import { priceLists } from "./price-table.ts";

/** Prices of one model: integer nano-USD (1e-9 USD) per token. */
export type Rates = {
  inputNanoUsd: number;
  cacheWrite5mNanoUsd: number;
  cacheWrite1hNanoUsd: number;
  cacheReadNanoUsd: number;
  outputNanoUsd: number;
};

export type ModelPrice = {
  /** The exact id that a request must name; there are no prefixes and no aliases beyond this table. */
  id: string;
  /** Stored with every hold, so that each line can be recomputed from the table that was in force. */
  version: string;
  contextWindowTokens: number;
  maxOutputTokens: number;
  /** Upper bound of the tokens of one image, whatever its size: the provider scales larger ones down. */
  imageTokens: number;
  rates: Rates;
  /** Applies to the whole call, output included, when all input kinds together exceed the mark. */
  longPrompt?: { aboveInputTokens: number; rates: Rates };
  /** The model takes `inference_geo`; the gateway then pins it, for the account's default may cost a tenth more. */
  pinsGeo: boolean;
  source: string;
  /** When the source was read, as a day. */
  date: string;
};

/** All prices that are, or were, in force together. */
export type PriceList = {
  /** The day on which it came into force. */
  version: string;
  prices: readonly ModelPrice[];
};

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

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

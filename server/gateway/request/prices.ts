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
  /** When the source was read. */
  date: string;
};

/** Version of the whole table. A changed price is a new version with a new date, never an edit. */
export const PRICE_VERSION = "2026-11-01";

const PUBLISHED = "platform.claude.com, pricing and model pages, as quoted in public documentation";
const ASSUMED =
  "not on the published list that was read; general knowledge: priced as the version before it";
const READ_ON = "2026-10-24";

/** Cache writes cost 5/4 and 2 times the input price for every model; reads differ by model and are given. */
function rates(input: number, output: number, cacheRead: number): Rates {
  return {
    inputNanoUsd: input,
    cacheWrite5mNanoUsd: (input * 5) / 4,
    cacheWrite1hNanoUsd: input * 2,
    cacheReadNanoUsd: cacheRead,
    outputNanoUsd: output,
  };
}

type Family = Pick<
  ModelPrice,
  "contextWindowTokens" | "maxOutputTokens" | "imageTokens" | "pinsGeo"
>;

// Images: at most some 1,660 tokens were measured up to 4.5 and some 4,010 later (general knowledge: 4,784).
const UP_TO_4_5: Family = {
  contextWindowTokens: 200_000,
  maxOutputTokens: 64_000,
  imageTokens: 2_000,
  pinsGeo: false,
};
const SINCE_4_6: Family = {
  contextWindowTokens: 1_000_000,
  maxOutputTokens: 128_000,
  imageTokens: 5_000,
  pinsGeo: true,
};

type Row = { ids: readonly string[]; family: Family; rates: Rates; long?: Rates; assumed?: true };

const ROWS: readonly Row[] = [
  {
    ids: ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929"],
    family: UP_TO_4_5,
    rates: rates(3_000, 15_000, 300),
  },
  {
    ids: ["claude-haiku-4-5", "claude-haiku-4-5-20251001"],
    family: UP_TO_4_5,
    rates: rates(1_000, 5_000, 100),
  },
  {
    ids: ["claude-opus-4-5", "claude-opus-4-5-20251101"],
    family: UP_TO_4_5,
    rates: rates(5_000, 25_000, 500),
  },
  { ids: ["claude-sonnet-4-6"], family: SINCE_4_6, rates: rates(3_000, 15_000, 300) },
  {
    ids: ["claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5"],
    family: SINCE_4_6,
    rates: rates(5_000, 25_000, 500),
  },
  { ids: ["claude-sonnet-5"], family: SINCE_4_6, rates: rates(2_000, 10_000, 200) },
  { ids: ["claude-sonnet-5-5"], family: SINCE_4_6, rates: rates(2_000, 10_000, 100) },
  { ids: ["claude-opus-5-5"], family: SINCE_4_6, rates: rates(4_000, 20_000, 200) },
  {
    ids: ["claude-haiku-5-5"],
    family: SINCE_4_6,
    rates: rates(100, 500, 10),
    long: rates(500, 2_500, 50),
  },
  {
    ids: ["claude-fable-5", "claude-mythos-5"],
    family: SINCE_4_6,
    rates: rates(10_000, 50_000, 1_000),
  },
  {
    ids: ["claude-fable-5-1", "claude-mythos-5-1"],
    family: SINCE_4_6,
    rates: rates(10_000, 50_000, 250),
  },
  {
    ids: ["claude-fable-5-2", "claude-mythos-5-2"],
    family: SINCE_4_6,
    rates: rates(10_000, 50_000, 250),
    assumed: true,
  },
];

const LONG_PROMPT_TOKENS = 100_000;

function priceOf(row: Row, id: string): ModelPrice {
  return {
    id,
    version: PRICE_VERSION,
    ...row.family,
    rates: row.rates,
    ...(row.long === undefined
      ? {}
      : { longPrompt: { aboveInputTokens: LONG_PROMPT_TOKENS, rates: row.long } }),
    source: row.assumed === true ? ASSUMED : PUBLISHED,
    date: READ_ON,
  };
}

const PRICE_BY_ID: ReadonlyMap<string, ModelPrice> = new Map(
  ROWS.flatMap((row) => row.ids.map((id) => [id, priceOf(row, id)] as const)),
);

/** Every priced model. */
export const modelPrices: readonly ModelPrice[] = [...PRICE_BY_ID.values()];

/** The price of a model by its exact id; undefined means `model_not_priced`. */
export function findPrice(id: string): ModelPrice | undefined {
  return PRICE_BY_ID.get(id);
}

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

/**
 * Simulated list prices, integer nano-USD (1e-9 USD) per token.
 *
 * Source: the provider's public pricing page, as quoted in the public documentation of October 2026.
 * Fable 5.2 and Mythos 5.2 were not on that page yet and carry the prices of their 5.1 versions.
 * Nobody is ever charged these amounts: they exist so that metering can be checked to the last digit.
 */
type TokenPrices = {
  inputNanoUsd: number;
  cacheWrite5mNanoUsd: number;
  cacheWrite1hNanoUsd: number;
  cacheReadNanoUsd: number;
  outputNanoUsd: number;
};

export type SimulatedModel = {
  id: string;
  displayName: string;
  contextWindowTokens: number;
  maxOutputTokens: number;
  /** Shorter prefixes are not cached, as with the real provider. */
  minCacheableTokens: number;
  prices: TokenPrices;
  /** Applies to the whole call when input, cache writes and cache reads together exceed the mark. */
  longPrompt?: { aboveInputTokens: number; prices: TokenPrices };
};

function listPrices(input: number, output: number, cacheRead: number): TokenPrices {
  return {
    inputNanoUsd: input,
    cacheWrite5mNanoUsd: (input * 5) / 4,
    cacheWrite1hNanoUsd: input * 2,
    cacheReadNanoUsd: cacheRead,
    outputNanoUsd: output,
  };
}

const OPUS_4_5 = listPrices(5_000, 25_000, 500);
const SONNET_4_5 = listPrices(3_000, 15_000, 300);
const HAIKU_4_5 = listPrices(1_000, 5_000, 100);
const OPUS_5 = listPrices(5_000, 25_000, 500);
const FABLE_5 = listPrices(10_000, 50_000, 1_000);
const FABLE_5_2 = listPrices(10_000, 50_000, 250);

const GENERATION_4_5 = { contextWindowTokens: 200_000, maxOutputTokens: 64_000 };
const GENERATION_5 = {
  contextWindowTokens: 1_000_000,
  maxOutputTokens: 128_000,
  minCacheableTokens: 1_024,
};

const MODELS: readonly Omit<SimulatedModel, "displayName">[] = [
  { id: "claude-sonnet-4-5", ...GENERATION_4_5, minCacheableTokens: 1_024, prices: SONNET_4_5 },
  {
    id: "claude-sonnet-4-5-20250929",
    ...GENERATION_4_5,
    minCacheableTokens: 1_024,
    prices: SONNET_4_5,
  },
  { id: "claude-haiku-4-5", ...GENERATION_4_5, minCacheableTokens: 4_096, prices: HAIKU_4_5 },
  {
    id: "claude-haiku-4-5-20251001",
    ...GENERATION_4_5,
    minCacheableTokens: 4_096,
    prices: HAIKU_4_5,
  },
  { id: "claude-opus-4-5", ...GENERATION_4_5, minCacheableTokens: 4_096, prices: OPUS_4_5 },
  {
    id: "claude-opus-4-5-20251101",
    ...GENERATION_4_5,
    minCacheableTokens: 4_096,
    prices: OPUS_4_5,
  },
  { id: "claude-sonnet-5-5", ...GENERATION_5, prices: listPrices(2_000, 10_000, 100) },
  { id: "claude-opus-5-5", ...GENERATION_5, prices: listPrices(4_000, 20_000, 200) },
  {
    id: "claude-haiku-5-5",
    ...GENERATION_5,
    prices: listPrices(100, 500, 10),
    longPrompt: { aboveInputTokens: 100_000, prices: listPrices(500, 2_500, 50) },
  },
  { id: "claude-fable-5-2", ...GENERATION_5, prices: FABLE_5_2 },
  { id: "claude-mythos-5-2", ...GENERATION_5, prices: FABLE_5_2 },
  // What coding agents ask for by themselves.
  { id: "claude-opus-4-8", ...GENERATION_5, prices: OPUS_5 },
  { id: "claude-opus-5", ...GENERATION_5, prices: OPUS_5 },
  { id: "claude-sonnet-5", ...GENERATION_5, prices: listPrices(2_000, 10_000, 200) },
  { id: "claude-fable-5", ...GENERATION_5, prices: FABLE_5 },
];

const MODEL_BY_ID: ReadonlyMap<string, SimulatedModel> = new Map(
  MODELS.map((model) => [model.id, { ...model, displayName: `${model.id} (simulated)` }]),
);

/** Finds a model by its exact id; there is no prefix or alias matching. */
export function findModel(id: string): SimulatedModel | undefined {
  return MODEL_BY_ID.get(id);
}

/** Tokens of one call, by kind; all integers. */
type BilledTokens = {
  inputTokens: number;
  cacheWrite5mTokens: number;
  cacheWrite1hTokens: number;
  cacheReadTokens: number;
  outputTokens: number;
};

/** The cost of one call in nano-USD. Integer in, integer out: nothing is ever rounded. */
export function costOf(model: SimulatedModel, tokens: BilledTokens): number {
  const promptTokens =
    tokens.inputTokens +
    tokens.cacheWrite5mTokens +
    tokens.cacheWrite1hTokens +
    tokens.cacheReadTokens;
  const long = model.longPrompt;
  const prices =
    long !== undefined && promptTokens > long.aboveInputTokens ? long.prices : model.prices;
  return (
    tokens.inputTokens * prices.inputNanoUsd +
    tokens.cacheWrite5mTokens * prices.cacheWrite5mNanoUsd +
    tokens.cacheWrite1hTokens * prices.cacheWrite1hNanoUsd +
    tokens.cacheReadTokens * prices.cacheReadNanoUsd +
    tokens.outputTokens * prices.outputNanoUsd
  );
}

function pricesJson(prices: TokenPrices): Record<string, number> {
  return {
    input_nano_usd: prices.inputNanoUsd,
    cache_write_5m_nano_usd: prices.cacheWrite5mNanoUsd,
    cache_write_1h_nano_usd: prices.cacheWrite1hNanoUsd,
    cache_read_nano_usd: prices.cacheReadNanoUsd,
    output_nano_usd: prices.outputNanoUsd,
  };
}

/** The body of `GET /sim/prices`: every model with its nano-USD per token. */
export function priceListJson(): unknown {
  return {
    simulated: true,
    label: "simulated list prices",
    unit: "nano-USD (1e-9 USD) per token",
    as_of: "2026-10",
    models: [...MODEL_BY_ID.values()].map((model) => ({
      id: model.id,
      display_name: model.displayName,
      context_window_tokens: model.contextWindowTokens,
      max_output_tokens: model.maxOutputTokens,
      min_cacheable_tokens: model.minCacheableTokens,
      ...pricesJson(model.prices),
      long_prompt:
        model.longPrompt === undefined
          ? null
          : {
              above_input_tokens: model.longPrompt.aboveInputTokens,
              ...pricesJson(model.longPrompt.prices),
            },
    })),
  };
}

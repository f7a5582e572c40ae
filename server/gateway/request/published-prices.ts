import { readFile } from "node:fs/promises";
import { z } from "zod";
import { AppError } from "../../platform/errors.ts";
import type { PublishedList, PublishedPrice } from "./price-check.ts";
import type { Rates } from "./model-price.ts";

// Two forms of price lists are read: the one that the simulated provider answers at /sim/prices, in nano-USD per token,
// and the one of the community's lists, an object by model id with US dollars per token.

const nanoUsd = z.number().int().min(0);
const ownRates = {
  input_nano_usd: nanoUsd,
  cache_write_5m_nano_usd: nanoUsd,
  cache_write_1h_nano_usd: nanoUsd,
  cache_read_nano_usd: nanoUsd,
  output_nano_usd: nanoUsd,
};
const ownList = z.object({
  models: z.array(
    z.object({
      id: z.string(),
      ...ownRates,
      long_prompt: z.object({ above_input_tokens: nanoUsd, ...ownRates }).nullish(),
    }),
  ),
});
const dollars = z.number().min(0).nullish();
const communityList = z.record(
  z.string(),
  z.looseObject({
    input_cost_per_token: dollars,
    output_cost_per_token: dollars,
    cache_creation_input_token_cost: dollars,
    cache_creation_input_token_cost_above_1hr: dollars,
    cache_read_input_token_cost: dollars,
  }),
);

function ratesOf(row: { [Key in keyof typeof ownRates]: number }): Rates {
  return {
    inputNanoUsd: row.input_nano_usd,
    cacheWrite5mNanoUsd: row.cache_write_5m_nano_usd,
    cacheWrite1hNanoUsd: row.cache_write_1h_nano_usd,
    cacheReadNanoUsd: row.cache_read_nano_usd,
    outputNanoUsd: row.output_nano_usd,
  };
}

/** Dollars come as doubles that are meant as decimals: the nearest nano-dollar is what was written. */
function nano(value: number | null | undefined): number | undefined {
  return value === null || value === undefined ? undefined : Math.round(value * 1_000_000_000);
}

function withoutUndefined(rates: { [Key in keyof Rates]: number | undefined }): Partial<Rates> {
  return Object.fromEntries(Object.entries(rates).filter(([, value]) => value !== undefined));
}

function communityPrices(list: z.infer<typeof communityList>): PublishedPrice[] {
  return Object.entries(list)
    .filter(([id, row]) => id.startsWith("claude-") && typeof row.input_cost_per_token === "number")
    .map(([id, row]) => ({
      id,
      rates: withoutUndefined({
        inputNanoUsd: nano(row.input_cost_per_token),
        outputNanoUsd: nano(row.output_cost_per_token),
        cacheWrite5mNanoUsd: nano(row.cache_creation_input_token_cost),
        cacheWrite1hNanoUsd: nano(row.cache_creation_input_token_cost_above_1hr),
        cacheReadNanoUsd: nano(row.cache_read_input_token_cost),
      }),
    }));
}

function unreadable(name: string, cause?: unknown): AppError {
  return new AppError({
    code: "price_list_unreadable",
    status: 500,
    publicMessage: `${name} cannot be read as a price list.`,
    hint: "Give a file or URL with JSON: {models: [{id, input_nano_usd, ...}]} as GET /sim/prices answers it, or an object by model id with input_cost_per_token and so on in US dollars.",
    cause,
  });
}

/** Reads a price list in one of the two forms. */
export function parsePublished(name: string, json: unknown): PublishedList {
  const own = ownList.safeParse(json);
  if (own.success)
    return {
      name,
      prices: own.data.models.map(({ id, long_prompt: long, ...rates }) => ({
        id,
        rates: ratesOf(rates),
        ...(long === null || long === undefined
          ? {}
          : { long: { aboveInputTokens: long.above_input_tokens, rates: ratesOf(long) } }),
      })),
    };
  const community = communityList.safeParse(json);
  const prices = community.success ? communityPrices(community.data) : [];
  if (prices.length === 0) throw unreadable(name);
  return { name, prices };
}

async function textOf(place: string): Promise<string> {
  if (!/^https?:\/\//.test(place)) return readFile(place, "utf8");
  const response = await fetch(place, { signal: AbortSignal.timeout(30_000) });
  if (!response.ok) throw new Error(`it answered ${response.status}`);
  return response.text();
}

/** Loads a price list from a file or a URL. */
export async function loadPublished(place: string): Promise<PublishedList> {
  let json: unknown;
  try {
    json = JSON.parse(await textOf(place));
  } catch (cause) {
    throw unreadable(place, cause);
  }
  return parsePublished(place, json);
}

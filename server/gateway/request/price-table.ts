import type { ModelPrice, PriceList, Rates } from "./model-price.ts";

// The price table. A changed price is a new version below, never an edit: holds name the version that they were made
// with, and their lines are recomputed from it for ever. `guildhall prices check` holds it against a published list.

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

type Row = {
  ids: readonly string[];
  family: Family;
  rates: Rates;
  /** For the whole call, when its prompt is longer than `LONG_PROMPT_TOKENS`. */
  long?: Rates;
  assumed?: true;
};

const LONG_PROMPT_TOKENS = 100_000;

const SINCE_OCTOBER: readonly Row[] = [
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
  { ids: ["claude-sonnet-5-5"], family: SINCE_4_6, rates: rates(2_000, 10_000, 200) },
  { ids: ["claude-opus-5-5"], family: SINCE_4_6, rates: rates(4_000, 20_000, 200) },
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

/** A cheaper cache read, and a new model with two bands; both in force since 2026-10-07. */
const SINCE_NOVEMBER: readonly Row[] = [
  { ids: ["claude-sonnet-5-5"], family: SINCE_4_6, rates: rates(2_000, 10_000, 100) },
  {
    ids: ["claude-haiku-5-5"],
    family: SINCE_4_6,
    rates: rates(100, 500, 10),
    long: rates(500, 2_500, 50),
  },
];

function priceOf(row: Row, input: { id: string; version: string }): ModelPrice {
  return {
    ...input,
    ...row.family,
    rates: row.rates,
    ...(row.long === undefined
      ? {}
      : { longPrompt: { aboveInputTokens: LONG_PROMPT_TOKENS, rates: row.long } }),
    source: row.assumed === true ? ASSUMED : PUBLISHED,
    date: READ_ON,
  };
}

/** Each version repeats all of the one before it but for what it changes and adds. */
function listsOf(versions: readonly { version: string; rows: readonly Row[] }[]): PriceList[] {
  const rowOf = new Map<string, Row>();
  return versions.map(({ version, rows }) => {
    for (const row of rows) for (const id of row.ids) rowOf.set(id, row);
    return { version, prices: [...rowOf].map(([id, row]) => priceOf(row, { id, version })) };
  });
}

/** All versions, the oldest first; calls are made with the last. */
export const priceLists: readonly PriceList[] = listsOf([
  { version: "2026-10-01", rows: SINCE_OCTOBER },
  { version: "2026-11-01", rows: SINCE_NOVEMBER },
]);

import type { ModelPrice, PriceList, Rates } from "./model-price.ts";

/** Something about the price table that a person has to look at. `error` fails the check. */
export type PriceFinding = {
  level: "error" | "warning";
  version: string;
  /** Absent where the version as a whole is meant. */
  model?: string;
  message: string;
};

/** One model of a published list; nano-USD per token. What a list does not say is absent. */
export type PublishedPrice = {
  id: string;
  rates: Partial<Rates>;
  long?: { aboveInputTokens: number; rates: Partial<Rates> };
};

export type PublishedList = { name: string; prices: readonly PublishedPrice[] };

export type PriceCheck = {
  lists: readonly PriceList[];
  /** Held against the newest version. `complete`: each of its models has to be in the table. */
  published: readonly (PublishedList & { complete: boolean })[];
  /** Today, and how old a source may be. */
  today: string;
  maxAgeDays: number;
};

const DAY_MS = 86_400_000;
const DAY = /^\d{4}-\d{2}-\d{2}$/;

const RATE_NAMES: Readonly<Record<keyof Rates, string>> = {
  inputNanoUsd: "input",
  cacheWrite5mNanoUsd: "cache write (5 minutes)",
  cacheWrite1hNanoUsd: "cache write (1 hour)",
  cacheReadNanoUsd: "cache read",
  outputNanoUsd: "output",
};
const RATES = Object.keys(RATE_NAMES) as (keyof Rates)[];

function ratesFaults(rates: Rates, where: string): string[] {
  const wrong = RATES.filter((kind) => !Number.isSafeInteger(rates[kind]) || rates[kind] <= 0);
  if (wrong.length > 0)
    return wrong.map((kind) => `${where}${RATE_NAMES[kind]} is ${rates[kind]}, which is no price`);
  const rising = [
    "cacheReadNanoUsd",
    "inputNanoUsd",
    "cacheWrite5mNanoUsd",
    "cacheWrite1hNanoUsd",
  ] as const;
  return rising.flatMap((kind, index) => {
    const dearer = rising[index + 1];
    return dearer !== undefined && rates[kind] >= rates[dearer]
      ? [`${where}${RATE_NAMES[kind]} is not cheaper than ${RATE_NAMES[dearer]}`]
      : [];
  });
}

function priceFaults(price: ModelPrice): string[] {
  const { longPrompt, contextWindowTokens, maxOutputTokens, imageTokens } = price;
  const faults = ratesFaults(price.rates, "");
  for (const [name, value] of Object.entries({ contextWindowTokens, maxOutputTokens, imageTokens }))
    if (!Number.isSafeInteger(value) || value <= 0) faults.push(`${name} is ${value}`);
  if (longPrompt !== undefined) {
    faults.push(...ratesFaults(longPrompt.rates, "long prompts: "));
    if (!(longPrompt.aboveInputTokens > 0 && longPrompt.aboveInputTokens < contextWindowTokens))
      faults.push("long prompts: the mark is outside the context window");
    for (const kind of RATES)
      if (longPrompt.rates[kind] < price.rates[kind])
        faults.push(`long prompts: ${RATE_NAMES[kind]} is cheaper than for short ones`);
  }
  if (price.source === "") faults.push("no source is given");
  return faults;
}

function ageFinding(
  price: ModelPrice,
  check: PriceCheck,
): Omit<PriceFinding, "version"> | undefined {
  const readMs = DAY.test(price.date) ? Date.parse(price.date) : Number.NaN;
  const days = Math.floor((Date.parse(check.today) - readMs) / DAY_MS);
  if (Number.isNaN(days))
    return {
      level: "error",
      message: `${JSON.stringify(price.date)} is no day on which its source was read`,
    };
  if (days < -1)
    return { level: "error", message: `its source was read on ${price.date}, which is to come` };
  if (days <= check.maxAgeDays) return undefined;
  return { level: "error", message: `its source was read ${days} days ago; read it again` };
}

function listFindings(list: PriceList, before: PriceList | undefined): PriceFinding[] {
  const { version, prices } = list;
  const findings: PriceFinding[] = [];
  const add = (finding: Omit<PriceFinding, "version" | "level">): void => {
    findings.push({ level: "error", version, ...finding });
  };
  if (!DAY.test(version)) add({ message: "the version is no day" });
  if (before !== undefined && before.version >= version)
    add({ message: `does not come after ${before.version}` });
  const seen = new Set<string>();
  for (const price of prices) {
    const { id: model } = price;
    if (seen.has(model)) add({ model, message: "has two prices" });
    seen.add(model);
    if (price.version !== version) add({ model, message: `says that it is of ${price.version}` });
    for (const message of priceFaults(price)) add({ model, message });
  }
  return findings;
}

function differences(own: Rates, theirs: Partial<Rates>, where: string): string[] {
  return RATES.flatMap((kind) => {
    const published = theirs[kind];
    return published === undefined || published === own[kind]
      ? []
      : [`${where}${RATE_NAMES[kind]} is ${own[kind]} nano-USD a token, published: ${published}`];
  });
}

function publishedFindings(
  list: PriceList,
  published: PriceCheck["published"][number],
): PriceFinding[] {
  const own = new Map(list.prices.map((price) => [price.id, price]));
  return published.prices.flatMap((theirs): PriceFinding[] => {
    const at = { version: list.version, model: theirs.id };
    const price = own.get(theirs.id);
    if (price === undefined)
      return [
        {
          ...at,
          level: published.complete ? "error" : "warning",
          message: `is not in the table, but in ${published.name}`,
        },
      ];
    const messages = differences(price.rates, theirs.rates, "");
    if (theirs.long !== undefined) {
      if (price.longPrompt?.aboveInputTokens !== theirs.long.aboveInputTokens)
        messages.push(
          `long prompts begin elsewhere: published above ${theirs.long.aboveInputTokens} tokens`,
        );
      else
        messages.push(...differences(price.longPrompt.rates, theirs.long.rates, "long prompts: "));
    }
    return messages.map((message) => ({
      ...at,
      level: "error",
      message: `${message} (${published.name})`,
    }));
  });
}

/** Looks for what is wrong in the table itself, what is old, and what differs from published lists. */
export function checkPrices(check: PriceCheck): PriceFinding[] {
  const findings = check.lists.flatMap((list, index) => listFindings(list, check.lists[index - 1]));
  const newest = check.lists.at(-1);
  if (newest === undefined)
    return [{ level: "error", version: "", message: "there is no price table" }];
  for (const price of newest.prices) {
    const age = ageFinding(price, check);
    if (age !== undefined) findings.push({ ...age, version: newest.version, model: price.id });
  }
  return [...findings, ...check.published.flatMap((list) => publishedFindings(newest, list))];
}

import type { ModelPrice } from "../request/model-price.ts";
import { costOf, type BilledTokens } from "../request/prices.ts";

/** What the usage reports of one answer amount to. */
export type UsageVerdict =
  /** All is known and priced. `costNanoUsd` may still be above the hold. */
  | { status: "priced"; costNanoUsd: number; tokens: BilledTokens }
  /** Something is missing, contradictory or without a price: the outcome counts as unknown. */
  | { status: "unknown"; reasons: readonly string[]; tokens: BilledTokens };

export type UsageMeter = {
  /** Takes a `usage` object as the provider sent it; `final` marks the report that ends the answer. */
  note(usage: unknown, final: boolean): void;
  verdict(): UsageVerdict;
  /** What is stored with the hold, in the protocol's names. */
  record(): Record<string, unknown>;
};

/** Far above any context window: a larger figure is a fault, and could overflow the arithmetic. */
const MAX_TOKENS = 1_000_000_000;

type Field = "input" | "output" | "cacheRead" | "cacheWrite" | "cacheWrite5m" | "cacheWrite1h";
type Counts = Partial<Record<Field, number>>;

const FIELD_OF: Readonly<Record<string, Field>> = {
  input_tokens: "input",
  output_tokens: "output",
  cache_read_input_tokens: "cacheRead",
  cache_creation_input_tokens: "cacheWrite",
};
const SPLIT_OF: Readonly<Record<string, Field>> = {
  ephemeral_5m_input_tokens: "cacheWrite5m",
  ephemeral_1h_input_tokens: "cacheWrite1h",
};
/** Values with which a request costs its list price. Any other value costs something that no hold covered. */
const STANDARD_VALUES: Readonly<Record<string, ReadonlySet<unknown>>> = {
  service_tier: new Set([undefined, null, "standard", "batch"]),
  speed: new Set([undefined, null, "standard"]),
  inference_geo: new Set([undefined, null, "", "global", "not_available"]),
};
/** Reported beside the counts and already contained in them. */
const INFORMATION = new Set(["output_tokens_details", "iterations"]);

/** True for JSON objects, as opposed to arrays and null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** Deeper than any usage: what lies below is not looked at, so it may count something. */
const MAX_DEPTH = 20;

/** True when a number above zero stands anywhere inside: a kind of usage that the price table does not know. */
function countsSomething(value: unknown, depth = 0): boolean {
  if (typeof value === "number") return value > 0;
  if (value === null || typeof value !== "object") return false;
  return (
    depth > MAX_DEPTH || Object.values(value).some((inner) => countsSomething(inner, depth + 1))
  );
}

function tokensOf(counts: Counts, largestTtl: "5m" | "1h"): BilledTokens {
  const written5m = counts.cacheWrite5m ?? 0;
  const written1h = counts.cacheWrite1h ?? 0;
  // Late reports give the sum without its split. What the split does not explain is priced at the dearer kind asked for.
  const unexplained = Math.max(0, (counts.cacheWrite ?? 0) - written5m - written1h);
  return {
    inputTokens: counts.input ?? 0,
    cacheWrite5mTokens: written5m + (largestTtl === "5m" ? unexplained : 0),
    cacheWrite1hTokens: written1h + (largestTtl === "1h" ? unexplained : 0),
    cacheReadTokens: counts.cacheRead ?? 0,
    outputTokens: counts.output ?? 0,
  };
}

function largest(a: BilledTokens, b: BilledTokens): BilledTokens {
  return {
    inputTokens: Math.max(a.inputTokens, b.inputTokens),
    cacheWrite5mTokens: Math.max(a.cacheWrite5mTokens, b.cacheWrite5mTokens),
    cacheWrite1hTokens: Math.max(a.cacheWrite1hTokens, b.cacheWrite1hTokens),
    cacheReadTokens: Math.max(a.cacheReadTokens, b.cacheReadTokens),
    outputTokens: Math.max(a.outputTokens, b.outputTokens),
  };
}

/** Reads one usage object into counts; what is odd in it goes to `odd`. */
function readCounts(usage: Record<string, unknown>, odd: Set<string>): Counts {
  const counts: Counts = {};
  const take = (field: Field, name: string, value: unknown): void => {
    if (value === undefined || value === null) return;
    if (
      typeof value !== "number" ||
      !Number.isSafeInteger(value) ||
      value < 0 ||
      value > MAX_TOKENS
    )
      odd.add(`${name} is no count`);
    else counts[field] = value;
  };
  for (const [name, value] of Object.entries(usage)) {
    const field = FIELD_OF[name];
    const standard = STANDARD_VALUES[name];
    if (field !== undefined) take(field, name, value);
    else if (name === "cache_creation" && isObject(value)) {
      for (const [key, inner] of Object.entries(value)) {
        const split = SPLIT_OF[key];
        if (split !== undefined) take(split, key, inner);
        else if (countsSomething(inner)) odd.add(`cache_creation.${key.slice(0, 60)} has no price`);
      }
    } else if (standard !== undefined) {
      if (!standard.has(value)) odd.add(`${name} is not standard`);
    } else if (!INFORMATION.has(name) && countsSomething(value))
      odd.add(`${name.slice(0, 60)} has no price`);
  }
  return counts;
}

/**
 * Collects the usage of one answer. Per field the largest figure counts; a figure that falls, is missing or has no
 * price makes the outcome unknown. `iterations` of other kinds than `message` are billed beside the top-level counts.
 */
export function createUsageMeter(price: ModelPrice, largestTtl: "5m" | "1h"): UsageMeter {
  const odd = new Set<string>();
  const seen: Counts = {};
  let iterations: { messages: Counts[]; others: { model: string; counts: Counts }[] } | undefined;
  let finalOutput = false;

  function noteIterations(list: readonly unknown[]): void {
    iterations = { messages: [], others: [] };
    for (const entry of list) {
      if (!isObject(entry)) continue;
      const { type, model, ...rest } = entry;
      const counts = readCounts(rest, odd);
      const other = typeof model === "string" ? model : price.id;
      if (type === "message" && other === price.id) iterations.messages.push(counts);
      else if (type === "compaction") iterations.others.push({ model: price.id, counts });
      else odd.add(`an iteration of kind ${String(type).slice(0, 40)} has no price`);
    }
  }

  function tokens(): BilledTokens {
    const top = tokensOf(seen, largestTtl);
    const messages = (iterations?.messages ?? []).map((counts) => tokensOf(counts, largestTtl));
    const others = (iterations?.others ?? []).map(({ counts }) => tokensOf(counts, largestTtl));
    return [largest(top, sum(messages)), ...others].reduce((a, b) => sum([a, b]));
  }

  return {
    note(usage, final) {
      if (!isObject(usage)) return;
      const counts = readCounts(usage, odd);
      for (const [field, value] of Object.entries(counts) as [Field, number][]) {
        const before = seen[field];
        // Some servers repeat an input kind as 0 in their last report, meaning "see above".
        const repeated = value === 0 && field !== "output";
        if (before !== undefined && value < before && !repeated)
          odd.add(`${field} fell from ${before} to ${value}`);
        seen[field] = Math.max(before ?? 0, value);
      }
      if (Array.isArray(usage["iterations"])) noteIterations(usage["iterations"]);
      if (final && counts.output !== undefined) finalOutput = true;
    },
    verdict() {
      const reasons = [...odd];
      const iterated = (iterations?.messages.length ?? 0) > 0;
      if (seen.input === undefined && !iterated) reasons.push("no count of input tokens");
      if (!finalOutput && !iterated) reasons.push("no final count of output tokens");
      const counted = tokens();
      const costNanoUsd = costOf(price, counted);
      if (!Number.isSafeInteger(costNanoUsd)) reasons.push("the counts are out of range");
      return reasons.length > 0
        ? { status: "unknown", reasons, tokens: counted }
        : { status: "priced", costNanoUsd, tokens: counted };
    },
    record() {
      const counted = tokens();
      return {
        input_tokens: counted.inputTokens,
        cache_creation_5m_input_tokens: counted.cacheWrite5mTokens,
        cache_creation_1h_input_tokens: counted.cacheWrite1hTokens,
        cache_read_input_tokens: counted.cacheReadTokens,
        output_tokens: counted.outputTokens,
        ...(odd.size === 0 ? {} : { odd: [...odd].slice(0, 10) }),
      };
    },
  };
}

function sum(list: readonly BilledTokens[]): BilledTokens {
  const total: BilledTokens = {
    inputTokens: 0,
    cacheWrite5mTokens: 0,
    cacheWrite1hTokens: 0,
    cacheReadTokens: 0,
    outputTokens: 0,
  };
  for (const one of list) {
    total.inputTokens += one.inputTokens;
    total.cacheWrite5mTokens += one.cacheWrite5mTokens;
    total.cacheWrite1hTokens += one.cacheWrite1hTokens;
    total.cacheReadTokens += one.cacheReadTokens;
    total.outputTokens += one.outputTokens;
  }
  return total;
}

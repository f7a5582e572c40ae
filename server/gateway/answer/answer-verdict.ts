import type { ModelPrice } from "../request/model-price.ts";
import type { BilledTokens } from "../request/prices.ts";
import { isObject, type UsageMeter } from "./usage.ts";

/** How an answer of the provider ended, as far as its charge is concerned. */
export type AnswerVerdict =
  /** A clean end and a usage that is known and priced. */
  | { status: "clean"; costNanoUsd: number; tokens: BilledTokens }
  /** Anything else: the charge stays at what was held. */
  | { status: "unknown"; reason: string };

/** What the charge of an answer is computed with. */
export type AnswerPricing = { price: ModelPrice; largestTtl: "5m" | "1h" };

/** `problem`: what was wrong with the answer apart from its usage. */
export function verdictOf(meter: UsageMeter, problem: string | undefined): AnswerVerdict {
  if (problem !== undefined) return { status: "unknown", reason: problem };
  const usage = meter.verdict();
  return usage.status === "priced"
    ? { status: "clean", costNanoUsd: usage.costNanoUsd, tokens: usage.tokens }
    : { status: "unknown", reason: usage.reasons.join("; ") };
}

/** The JSON object in a text; undefined when it is none. */
export function parseObject(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The opaque text by which a thinking block is recognised when it comes back: signed, so it cannot be made up. */
export function thinkingMarkOf(block: unknown): string | undefined {
  if (!isObject(block)) return undefined;
  const mark = block["type"] === "redacted_thinking" ? block["data"] : block["signature"];
  return typeof mark === "string" && mark !== "" ? mark : undefined;
}

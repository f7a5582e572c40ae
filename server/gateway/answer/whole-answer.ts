import {
  parseObject,
  thinkingMarkOf,
  verdictOf,
  type AnswerPricing,
  type AnswerVerdict,
} from "./answer-verdict.ts";
import { createUsageMeter } from "./usage.ts";

export type WholeAnswer = {
  verdict: AnswerVerdict;
  usageRecord: Record<string, unknown>;
  thinkingMarks: readonly string[];
  /** False when the bytes are no message at all: they are of no use to the client. */
  readable: boolean;
};

/** Reads a complete answer that was not streamed. */
export function readWholeAnswer(body: Buffer, pricing: AnswerPricing): WholeAnswer {
  const meter = createUsageMeter(pricing.price, pricing.largestTtl);
  const text = body.toString("utf8");
  const message = parseObject(text.startsWith("\uFEFF") ? text.slice(1) : text);
  const stops = typeof message?.["stop_reason"] === "string";
  meter.note(message?.["usage"], stops);
  const problem =
    message === undefined
      ? "the answer is no JSON object"
      : stops
        ? undefined
        : "the answer has no stop reason";
  const content: unknown = message?.["content"];
  return {
    verdict: verdictOf(meter, problem),
    usageRecord: meter.record(),
    thinkingMarks: (Array.isArray(content) ? content : []).flatMap(
      (block) => thinkingMarkOf(block) ?? [],
    ),
    readable: message !== undefined,
  };
}

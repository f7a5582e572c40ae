import {
  parseObject,
  thinkingMarkOf,
  verdictOf,
  type AnswerPricing,
  type AnswerVerdict,
} from "./answer-verdict.ts";
import type { SseFrame } from "./sse-parser.ts";
import { createUsageMeter, isObject } from "./usage.ts";

/** What the frames of a streamed answer say about its charge. */
export type StreamListener = {
  onFrame(frame: SseFrame): void;
  /** The frame that ends the answer: `stop` in good order, `error` by an error event. */
  terminal(): { kind: "stop" | "error"; startOffset: number } | undefined;
  verdict(): AnswerVerdict;
  usageRecord(): Record<string, unknown>;
  thinkingMarks(): readonly string[];
};

/** Frames of content are not read, except for the marks of thinking blocks, which decide nothing about this charge. */
const MARK = /"signature|"redacted_thinking"/;

/** Usage comes from the framing of `message_start` and `message_delta`, never from content. */
export function createStreamListener(pricing: AnswerPricing): StreamListener {
  const meter = createUsageMeter(pricing.price, pricing.largestTtl);
  const marks: string[] = [];
  let stopReason = false;
  let malformed = false;
  let terminal: { kind: "stop" | "error"; startOffset: number } | undefined;

  function onDelta(data: Record<string, unknown> | undefined): void {
    const delta = data?.["delta"];
    const stops = isObject(delta) && typeof delta["stop_reason"] === "string";
    if (stops) stopReason = true;
    meter.note(data?.["usage"], stops);
  }

  function problem(): string | undefined {
    if (terminal?.kind === "error") return "an error event in the stream";
    if (malformed) return "a report of usage could not be read";
    if (terminal === undefined) return "the stream ended without message_stop";
    return stopReason ? undefined : "the answer has no stop reason";
  }

  return {
    onFrame(frame) {
      if (terminal !== undefined) return;
      const content = frame.event.startsWith("content_block_");
      if (content && !MARK.test(frame.data ?? "")) return;
      const data = parseObject(frame.data);
      const kind = frame.event === "" ? data?.["type"] : frame.event;
      const reports = kind === "message_start" || kind === "message_delta";
      if (reports && data === undefined) malformed = true;
      // A last frame that was cut off is no clean end.
      else if (kind === "message_stop" && data === undefined) return;
      else if (kind === "message_start") {
        if (isObject(data?.["message"])) meter.note(data["message"]["usage"], false);
      } else if (kind === "message_delta") onDelta(data);
      else if (kind === "message_stop" || kind === "error")
        terminal = { kind: kind === "error" ? "error" : "stop", startOffset: frame.startOffset };
      else if (content) {
        const mark = thinkingMarkOf(data?.["content_block"]) ?? thinkingMarkOf(data?.["delta"]);
        if (mark !== undefined) marks.push(mark);
      }
    },
    terminal: () => terminal,
    verdict: () => verdictOf(meter, problem()),
    usageRecord: () => meter.record(),
    thinkingMarks: () => marks,
  };
}

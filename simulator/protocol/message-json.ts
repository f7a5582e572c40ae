import type { Answer, AnswerBlock } from "./answer.ts";
import type { InputSplit } from "../metering/prompt-cache.ts";

/** What both forms of a response are made of. */
export type MessageFacts = {
  messageId: string;
  modelId: string;
  split: InputSplit;
  answer: Answer;
};

/** Usage as the wire shows it; a plain record, because injected faults bend it. */
export type WireUsage = Record<string, unknown>;

/** The usage object of a message with the output tokens so far. */
export function usageJson(
  facts: MessageFacts,
  output: { tokens: number; final: boolean },
): WireUsage {
  const { split } = facts;
  return {
    input_tokens: split.inputTokens,
    cache_creation_input_tokens: split.cacheWrite5mTokens + split.cacheWrite1hTokens,
    cache_read_input_tokens: split.cacheReadTokens,
    cache_creation: {
      ephemeral_5m_input_tokens: split.cacheWrite5mTokens,
      ephemeral_1h_input_tokens: split.cacheWrite1hTokens,
    },
    output_tokens: output.tokens,
    output_tokens_details: output.final ? { thinking_tokens: facts.answer.thinkingTokens } : null,
    server_tool_use: null,
    service_tier: "standard",
    inference_geo: null,
    speed: null,
  };
}

/** A block as the whole answer shows it. A cut tool use carries an empty input: its JSON never ended. */
export function blockJson(block: AnswerBlock): unknown {
  switch (block.type) {
    case "thinking":
      return { type: "thinking", thinking: block.text, signature: block.signature };
    case "text":
      return { type: "text", text: block.text, citations: null };
    case "tool_use": {
      const input: unknown = block.complete ? JSON.parse(block.json) : {};
      return {
        type: "tool_use",
        id: block.id,
        name: block.name,
        input,
        caller: { type: "direct" },
      };
    }
  }
}

/** A message without its content and end: the body of `message_start`, and the frame of a whole answer. */
export function messageHead(facts: MessageFacts, usage: WireUsage): Record<string, unknown> {
  return {
    id: facts.messageId,
    type: "message",
    role: "assistant",
    model: facts.modelId,
    content: [],
    container: null,
    diagnostics: null,
    stop_reason: null,
    stop_sequence: null,
    stop_details: null,
    usage,
  };
}

/** The body of an answer that is not streamed. */
export function messageJson(facts: MessageFacts): Record<string, unknown> {
  const { answer } = facts;
  return {
    ...messageHead(facts, usageJson(facts, { tokens: answer.outputTokens, final: true })),
    content: answer.blocks.map((block) => blockJson(block)),
    stop_reason: answer.stopReason,
    stop_sequence: answer.stopSequence,
  };
}

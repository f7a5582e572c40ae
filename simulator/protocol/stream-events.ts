import type { AnswerBlock } from "./answer.ts";
import { blockTokens } from "./answer.ts";
import type { MessageFacts } from "./message-json.ts";
import { blockJson, messageHead, usageJson } from "./message-json.ts";

/** One server-sent event, and how far its block had been generated with it. */
export type StreamEvent = {
  event: string;
  data: Record<string, unknown>;
  progress: { block: number; characters: number } | undefined;
};

const JSON_CHARACTERS_PER_DELTA = 24;

function wordChunks(text: string): string[] {
  return text.match(/\s*\S+\s*/g) ?? (text === "" ? [] : [text]);
}

function jsonChunks(json: string): string[] {
  // By code point, so that no delta ends inside a surrogate pair.
  const characters = Array.from(json);
  const chunks = [""];
  for (let index = 0; index < characters.length; index += JSON_CHARACTERS_PER_DELTA)
    chunks.push(characters.slice(index, index + JSON_CHARACTERS_PER_DELTA).join(""));
  return chunks;
}

function deltasOf(block: AnswerBlock): { delta: Record<string, unknown>; characters: number }[] {
  let characters = 0;
  const grown = (chunk: string): number => (characters += chunk.length);
  switch (block.type) {
    case "text":
      return wordChunks(block.text).map((text) => ({
        delta: { type: "text_delta", text },
        characters: grown(text),
      }));
    case "tool_use":
      return jsonChunks(block.json).map((chunk) => ({
        delta: { type: "input_json_delta", partial_json: chunk },
        characters: grown(chunk),
      }));
    case "thinking": {
      const deltas = wordChunks(block.text).map((thinking) => ({
        delta: { type: "thinking_delta", thinking },
        characters: grown(thinking),
      }));
      return [
        ...deltas,
        { delta: { type: "signature_delta", signature: block.signature }, characters },
      ];
    }
  }
}

function emptyBlockJson(block: AnswerBlock): unknown {
  if (block.type === "tool_use") return blockJson({ ...block, complete: false });
  return blockJson(
    block.type === "text" ? { ...block, text: "" } : { ...block, text: "", signature: "" },
  );
}

function blockEvents(block: AnswerBlock, index: number): StreamEvent[] {
  const start = { type: "content_block_start", index, content_block: emptyBlockJson(block) };
  const deltas = deltasOf(block).map(({ delta, characters }) => ({
    event: "content_block_delta",
    data: { type: "content_block_delta", index, delta },
    progress: { block: index, characters },
  }));
  return [
    { event: "content_block_start", data: start, progress: undefined },
    ...deltas,
    {
      event: "content_block_stop",
      data: { type: "content_block_stop", index },
      progress: undefined,
    },
  ];
}

/** The events of a streamed answer, `message_start` to `message_stop`. */
export function streamEvents(facts: MessageFacts): StreamEvent[] {
  const { answer } = facts;
  const {
    cache_creation: _creation,
    service_tier: _tier,
    inference_geo: _geo,
    speed: _speed,
    ...finalUsage
  } = usageJson(facts, { tokens: answer.outputTokens, final: true });
  const startUsage = usageJson(facts, { tokens: 1, final: false });
  const delta = {
    container: null,
    stop_reason: answer.stopReason,
    stop_sequence: answer.stopSequence,
    stop_details: null,
  };
  const events: StreamEvent[] = [
    {
      event: "message_start",
      data: { type: "message_start", message: messageHead(facts, startUsage) },
      progress: undefined,
    },
    ...answer.blocks.flatMap((block, index) => blockEvents(block, index)),
    {
      event: "message_delta",
      data: { type: "message_delta", delta, usage: finalUsage },
      progress: undefined,
    },
    { event: "message_stop", data: { type: "message_stop" }, progress: undefined },
  ];
  const afterFirstStart = answer.blocks.length > 0 ? 2 : 1;
  events.splice(afterFirstStart, 0, { event: "ping", data: { type: "ping" }, progress: undefined });
  return events;
}

/**
 * Output tokens that had been generated when the first `count` events were out. Computed only where a
 * stream ends early, so a full stream pays nothing for it.
 */
export function generatedTokens(input: {
  facts: MessageFacts;
  events: readonly StreamEvent[];
  count: number;
}): number {
  if (input.count === 0) return 0;
  const reached = input.events
    .slice(0, input.count)
    .findLast((event) => event.progress !== undefined)?.progress;
  if (reached === undefined) return 1;
  const tokens = input.facts.answer.blocks.reduce((sum, block, index) => {
    if (index > reached.block) return sum;
    return sum + blockTokens(block, index === reached.block ? reached.characters : undefined);
  }, 0);
  return Math.max(1, tokens);
}

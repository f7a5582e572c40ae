import type { Decision } from "../personas/decide.ts";
import { hashOf } from "../hash.ts";
import type { MessagesRequest } from "./request-schema.ts";
import { countTokens, takeTokens } from "../metering/tokens.ts";

/** A block of the answer, cut to what `max_tokens` allows. `json` of a cut tool use is incomplete. */
export type AnswerBlock =
  | { type: "thinking"; text: string; signature: string }
  | { type: "text"; text: string }
  | { type: "tool_use"; id: string; name: string; json: string; complete: boolean };

type StopReason = "end_turn" | "tool_use" | "max_tokens" | "stop_sequence";

export type Answer = {
  blocks: readonly AnswerBlock[];
  stopReason: StopReason;
  stopSequence: string | null;
  outputTokens: number;
  thinkingTokens: number;
};

/** Tokens of a block, or of its first `characters` characters. A tool's name counts with its first character. */
export function blockTokens(block: AnswerBlock, characters?: number): number {
  if (block.type !== "tool_use") return countTokens(block.text.slice(0, characters));
  return countTokens(block.name) + countTokens(block.json.slice(0, characters));
}

function wantedBlocks(input: {
  decision: Decision;
  request: MessagesRequest;
  callHash: string;
}): AnswerBlock[] {
  const { decision, request, callHash } = input;
  const blocks: AnswerBlock[] = [];
  const thinks = request.thinking?.type === "enabled" || request.thinking?.type === "adaptive";
  if (thinks)
    blocks.push({
      type: "thinking",
      text: decision.thinking,
      signature: `sim_${hashOf([callHash, decision.thinking], 64)}`,
    });
  if (decision.text !== "") blocks.push({ type: "text", text: decision.text });
  for (const [index, call] of decision.toolCalls.entries()) {
    const id = `toolu_sim_${hashOf([callHash, String(index)])}`;
    blocks.push({
      type: "tool_use",
      id,
      name: call.name,
      json: JSON.stringify(call.input),
      complete: true,
    });
  }
  return blocks;
}

function firstStop(
  text: string,
  sequences: readonly string[],
): { at: number; sequence: string } | undefined {
  const hits = sequences.flatMap((sequence) => {
    const at = text.indexOf(sequence);
    return at < 0 ? [] : [{ at, sequence }];
  });
  return hits.toSorted((a, b) => a.at - b.at)[0];
}

function cutBlock(block: AnswerBlock, limitTokens: number): AnswerBlock | undefined {
  if (block.type !== "tool_use")
    return limitTokens === 0 ? undefined : { ...block, text: takeTokens(block.text, limitTokens) };
  const left = limitTokens - countTokens(block.name);
  return left <= 0 ? undefined : { ...block, json: takeTokens(block.json, left), complete: false };
}

/** Turns a decision into the blocks of an answer: never more than `max_tokens`, and up to a stop sequence. */
export function composeAnswer(input: {
  decision: Decision;
  request: MessagesRequest;
  callHash: string;
}): Answer {
  const { request } = input;
  const blocks: AnswerBlock[] = [];
  let stopReason: StopReason = input.decision.toolCalls.length > 0 ? "tool_use" : "end_turn";
  let stopSequence: string | null = null;
  let left = request.max_tokens;
  for (const wanted of wantedBlocks(input)) {
    const stop =
      wanted.type === "text" ? firstStop(wanted.text, request.stop_sequences ?? []) : undefined;
    const block =
      stop === undefined || wanted.type !== "text"
        ? wanted
        : { ...wanted, text: wanted.text.slice(0, stop.at) };
    const tokens = blockTokens(block);
    const kept = tokens <= left ? block : cutBlock(block, left);
    if (kept !== undefined) blocks.push(kept);
    left -= kept === undefined ? 0 : blockTokens(kept);
    if (kept !== block) {
      stopReason = "max_tokens";
      break;
    }
    if (stop !== undefined) {
      stopReason = "stop_sequence";
      stopSequence = stop.sequence;
      break;
    }
  }
  const thinkingTokens = blocks.reduce(
    (sum, block) => sum + (block.type === "thinking" ? blockTokens(block) : 0),
    0,
  );
  // Even an answer without a visible word has cost one token.
  return {
    blocks,
    stopReason,
    stopSequence,
    outputTokens: Math.max(1, request.max_tokens - left),
    thinkingTokens,
  };
}

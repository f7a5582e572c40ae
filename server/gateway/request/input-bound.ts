import type { ModelPrice } from "./prices.ts";
import type { CountBody, RequestBlock, RequestMessage, RequestTool } from "./request-schema.ts";

/**
 * Upper bounds of what the provider adds to the text that we see. A tokenizer over bytes makes at most one token of a
 * byte, so the bytes of a text bound its tokens; the constants (general knowledge, all rounded up generously) cover
 * role markers, block wrappers, the hidden tool prompt and the definitions of the provider's own client tools.
 */
const MESSAGE_TOKENS = 16;
const BLOCK_TOKENS = 16;
const TOOL_TOKENS = 64;
const CLIENT_TOOL_TOKENS = 3_000;
const TOOLS_PROMPT_TOKENS = 1_000;
const REQUEST_TOKENS = 64;
/** Per key, element and separator of a JSON value, however it is laid out for the model. */
const JSON_NODE_TOKENS = 4;
/** The longest answer that any model gives: what a thinking block of unknown origin may hide. */
const LONGEST_ANSWER_TOKENS = 128_000;

/** How many tokens the answer had that a thinking block came from; undefined when this gateway did not see it. */
export type ThinkingOrigin = (mark: string) => number | undefined;

export type BoundOptions = { price: ModelPrice; thinkingOrigin: ThinkingOrigin };

function textBytes(text: string): number {
  return Buffer.byteLength(text);
}

/** A string inside a JSON value: escaped in the longest way, six characters for each that is not plain ASCII. */
function escapedBytes(text: string): number {
  const plain = text.match(/[\u0020-\u007e]/g)?.length ?? 0;
  const quoted = text.match(/["\\/]/g)?.length ?? 0;
  return 2 + plain + quoted + 6 * (text.length - plain);
}

function jsonBytes(value: unknown): number {
  if (typeof value === "string") return JSON_NODE_TOKENS + escapedBytes(value);
  if (value === null || typeof value !== "object")
    return JSON_NODE_TOKENS + textBytes(JSON.stringify(value) ?? "");
  if (Array.isArray(value))
    return value.reduce<number>((sum, item) => sum + jsonBytes(item), JSON_NODE_TOKENS);
  // Integers that a double cannot hold are raw JSON: they have no keys to visit.
  const entries = Object.entries(value);
  if (entries.length === 0) return JSON_NODE_TOKENS + textBytes(JSON.stringify(value));
  return entries.reduce(
    (sum, [key, inner]) => sum + JSON_NODE_TOKENS + escapedBytes(key) + jsonBytes(inner),
    JSON_NODE_TOKENS,
  );
}

type Content = string | readonly RequestBlock[] | undefined;

function contentTokens(content: Content, options: BoundOptions): number {
  if (content === undefined) return 0;
  if (typeof content === "string") return BLOCK_TOKENS + textBytes(content);
  return content.reduce((sum, block) => sum + blockTokens(block, options), 0);
}

function documentTokens(
  block: Extract<RequestBlock, { type: "document" }>,
  options: BoundOptions,
): number {
  const head = textBytes(block.title ?? "") + textBytes(block.context ?? "");
  switch (block.source.type) {
    case "text":
      return head + textBytes(block.source.data);
    case "content":
      return head + contentTokens(block.source.content, options);
    case "base64":
      // Pages are compressed inside a PDF, so its bytes bound nothing; the context window does.
      return options.price.contextWindowTokens;
  }
}

function thinkingTokens(mark: string, options: BoundOptions): number {
  return options.thinkingOrigin(mark) ?? LONGEST_ANSWER_TOKENS;
}

function blockTokens(block: RequestBlock, options: BoundOptions): number {
  switch (block.type) {
    case "text":
      return (
        BLOCK_TOKENS + textBytes(block.text) + (block.citations ? jsonBytes(block.citations) : 0)
      );
    case "image":
      return BLOCK_TOKENS + options.price.imageTokens;
    case "document":
      return BLOCK_TOKENS + documentTokens(block, options);
    case "search_result":
      return (
        BLOCK_TOKENS +
        textBytes(block.source) +
        textBytes(block.title) +
        contentTokens(block.content, options)
      );
    case "thinking":
      // The model sees the full thinking behind a summary, so the visible text bounds nothing.
      return BLOCK_TOKENS + thinkingTokens(block.signature, options);
    case "redacted_thinking":
      return BLOCK_TOKENS + thinkingTokens(block.data, options);
    case "tool_use":
      return BLOCK_TOKENS + textBytes(block.id) + textBytes(block.name) + jsonBytes(block.input);
    case "tool_result":
      return BLOCK_TOKENS + textBytes(block.tool_use_id) + contentTokens(block.content, options);
  }
}

function toolTokens(tool: RequestTool): number {
  const own = tool.type === undefined || tool.type === null || tool.type === "custom";
  const { cache_control: _mark, ...rest } = tool;
  return (own ? TOOL_TOKENS : CLIENT_TOOL_TOKENS) + jsonBytes(rest);
}

/** At most so many tokens come from these messages. */
export function messagesBound(messages: readonly RequestMessage[], options: BoundOptions): number {
  return messages.reduce(
    (sum, message) => sum + MESSAGE_TOKENS + contentTokens(message.content, options),
    0,
  );
}

/** At most so many tokens come from all that stands before the messages. */
function headBound(body: CountBody, options: BoundOptions): number {
  const tools = body.tools ?? [];
  return (
    REQUEST_TOKENS +
    contentTokens(body.system, options) +
    (tools.length === 0 ? 0 : TOOLS_PROMPT_TOKENS) +
    tools.reduce((sum, tool) => sum + toolTokens(tool), 0) +
    (body.tool_choice === undefined ? 0 : jsonBytes(body.tool_choice)) +
    (body.output_config?.format ? TOOL_TOKENS + jsonBytes(body.output_config.format) : 0)
  );
}

/** No provider counts more input tokens for this request. Longer requests than the window are refused, not billed. */
export function inputBound(body: CountBody, options: BoundOptions): number {
  return Math.min(
    options.price.contextWindowTokens,
    headBound(body, options) + messagesBound(body.messages, options),
  );
}

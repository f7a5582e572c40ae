import type { ModelPrice } from "./model-price.ts";
import type { CountBody, RequestBlock, RequestTool } from "./request-schema.ts";

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
/** A task budget is told to the model again as it goes on. */
const TASK_BUDGET_TOKENS = 64;
/** The longest answer that any model gives: what a thinking block of unknown origin may hide. */
const LONGEST_ANSWER_TOKENS = 128_000;

/** How many tokens the answer had that a thinking block came from; undefined when this gateway did not see it. */
export type ThinkingOrigin = (mark: string) => number | undefined;

export type BoundOptions = { price: ModelPrice; thinkingOrigin: ThinkingOrigin };

type Bounding = BoundOptions & { definitions: Definitions };

/** Tokens of the definitions of a request's tools by name, counted when one is asked for. */
type Definitions = () => ReadonlyMap<string, number>;

function textBytes(text: string): number {
  return Buffer.byteLength(text);
}

const QUOTE = 34;
const SLASH = 47;
const BACKSLASH = 92;

/** A string inside a JSON value: escaped in the longest way, six characters for each that is not plain ASCII. */
function escapedBytes(text: string): number {
  let bytes = 2 + text.length;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 32 || code > 126) bytes += 5;
    else if (code === QUOTE || code === SLASH || code === BACKSLASH) bytes += 1;
  }
  return bytes;
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

function contentTokens(content: Content, bounding: Bounding): number {
  if (content === undefined) return 0;
  if (typeof content === "string") return BLOCK_TOKENS + textBytes(content);
  return content.reduce((sum, block) => sum + blockTokens(block, bounding), 0);
}

function documentTokens(
  block: Extract<RequestBlock, { type: "document" }>,
  bounding: Bounding,
): number {
  const head = textBytes(block.title ?? "") + textBytes(block.context ?? "");
  switch (block.source.type) {
    case "text":
      return head + textBytes(block.source.data);
    case "content":
      return head + contentTokens(block.source.content, bounding);
    case "base64":
      // Pages are compressed inside a PDF, so its bytes bound nothing; the context window does.
      return bounding.price.contextWindowTokens;
  }
}

function thinkingTokens(mark: string, bounding: Bounding): number {
  return bounding.thinkingOrigin(mark) ?? LONGEST_ANSWER_TOKENS;
}

function blockTokens(block: RequestBlock, bounding: Bounding): number {
  switch (block.type) {
    case "text":
      return (
        BLOCK_TOKENS + textBytes(block.text) + (block.citations ? jsonBytes(block.citations) : 0)
      );
    case "image":
      return BLOCK_TOKENS + bounding.price.imageTokens;
    case "document":
      return BLOCK_TOKENS + documentTokens(block, bounding);
    case "search_result":
      return (
        BLOCK_TOKENS +
        textBytes(block.source) +
        textBytes(block.title) +
        contentTokens(block.content, bounding)
      );
    case "thinking":
      // The model sees the full thinking behind a summary, so the visible text bounds nothing.
      return BLOCK_TOKENS + thinkingTokens(block.signature, bounding);
    case "redacted_thinking":
      return BLOCK_TOKENS + thinkingTokens(block.data, bounding);
    case "tool_use":
      return BLOCK_TOKENS + textBytes(block.id) + textBytes(block.name) + jsonBytes(block.input);
    case "tool_result":
      return BLOCK_TOKENS + textBytes(block.tool_use_id) + resultTokens(block.content, bounding);
    case "tool_addition":
      return (
        BLOCK_TOKENS +
        (block.tool.type === "tool_reference"
          ? referenceTokens(block.tool.name, bounding)
          : toolTokens(block.tool.definition))
      );
    case "tool_removal":
      return BLOCK_TOKENS + textBytes(block.tool.name);
  }
}

type ResultContent = Extract<RequestBlock, { type: "tool_result" }>["content"];

function resultTokens(content: ResultContent, bounding: Bounding): number {
  if (content === undefined || typeof content === "string") return contentTokens(content, bounding);
  return content.reduce(
    (sum, part) =>
      sum +
      (part.type === "tool_reference"
        ? referenceTokens(part.tool_name, bounding)
        : blockTokens(part, bounding)),
    0,
  );
}

/** Where a deferred tool is named, its definition is put in. It stands in the request, else the provider refuses it. */
function referenceTokens(name: string, bounding: Bounding): number {
  return BLOCK_TOKENS + textBytes(name) + (bounding.definitions().get(name) ?? 0);
}

function definitionsOf(body: CountBody): Definitions {
  let found: Map<string, number> | undefined;
  return () => {
    if (found !== undefined) return found;
    found = new Map();
    const added = body.messages.flatMap(({ content }) =>
      content === undefined || typeof content === "string" ? [] : content.flatMap(definitionIn),
    );
    for (const tool of [...(body.tools ?? []), ...added])
      found.set(tool.name, Math.max(found.get(tool.name) ?? 0, toolTokens(tool)));
    return found;
  };
}

function definitionIn(block: RequestBlock): RequestTool[] {
  return block.type === "tool_addition" && block.tool.type === "tool_definition"
    ? [block.tool.definition]
    : [];
}

function toolTokens(tool: RequestTool): number {
  const own = tool.type === undefined || tool.type === null || tool.type === "custom";
  const { cache_control: _mark, ...rest } = tool;
  return (own ? TOOL_TOKENS : CLIENT_TOOL_TOKENS) + jsonBytes(rest);
}

/** At most so many tokens come from the messages of a request from the `first` on. */
export function messagesBound(body: CountBody, first: number, options: BoundOptions): number {
  const bounding = { ...options, definitions: definitionsOf(body) };
  const each = MESSAGE_TOKENS + (body.output_config?.task_budget ? TASK_BUDGET_TOKENS : 0);
  let sum = 0;
  for (let index = first; index < body.messages.length; index++)
    sum += each + contentTokens(body.messages[index]?.content, bounding);
  return sum;
}

/** At most so many tokens come from all that stands before the messages. */
function headBound(body: CountBody, options: BoundOptions): number {
  const bounding = { ...options, definitions: definitionsOf(body) };
  const tools = body.tools ?? [];
  const format = body.output_config?.format ?? body.output_format;
  return (
    REQUEST_TOKENS +
    contentTokens(body.system, bounding) +
    (tools.length === 0 ? 0 : TOOLS_PROMPT_TOKENS) +
    tools.reduce((sum, tool) => sum + toolTokens(tool), 0) +
    (body.tool_choice === undefined ? 0 : jsonBytes(body.tool_choice)) +
    (body.output_config?.task_budget ? TASK_BUDGET_TOKENS : 0) +
    (format ? TOOL_TOKENS + jsonBytes(format) : 0)
  );
}

/** No provider counts more input tokens for this request. Longer requests than the window are refused, not billed. */
export function inputBound(body: CountBody, options: BoundOptions): number {
  return Math.min(
    options.price.contextWindowTokens,
    headBound(body, options) + messagesBound(body, 0, options),
  );
}

import type { ContentBlock, CountRequest, RequestTool } from "../protocol/request-schema.ts";
import { canonicalJson } from "../hash.ts";
import { countTokens, DOCUMENT_TOKENS, IMAGE_TOKENS } from "./tokens.ts";

export type CacheTtl = "5m" | "1h";

/** One block of the prompt in the order in which the model sees it: tools, system, messages. */
export type PromptSegment = {
  tokens: number;
  /** What makes the segment the same as another one; goes into the hash of a cached prefix. */
  identity: string;
  /** Set where the request put a cache breakpoint. */
  breakpointTtl: CacheTtl | undefined;
};

type CacheMark = { ttl?: CacheTtl | undefined } | null | undefined;

function ttlOf(mark: CacheMark): CacheTtl | undefined {
  return mark === undefined || mark === null ? undefined : (mark.ttl ?? "5m");
}

type ResultPart = { type: string; text?: unknown };

function resultTokens(content: string | readonly ResultPart[] | undefined): number {
  if (content === undefined) return 0;
  if (typeof content === "string") return countTokens(content);
  return content.reduce((sum, part) => {
    if (part.type === "text") return sum + countTokens(String(part.text));
    if (part.type === "image") return sum + IMAGE_TOKENS;
    return sum + (part.type === "document" ? DOCUMENT_TOKENS : countTokens(JSON.stringify(part)));
  }, 0);
}

function blockTokens(block: ContentBlock): number {
  switch (block.type) {
    case "text":
      return countTokens(block.text);
    case "image":
      return IMAGE_TOKENS;
    case "document":
      return block.source.type === "text" && typeof block.source["data"] === "string"
        ? countTokens(block.source["data"])
        : DOCUMENT_TOKENS;
    case "search_result":
      return countTokens(JSON.stringify(block));
    case "thinking":
      return countTokens(block.thinking);
    case "redacted_thinking":
      return countTokens(block.data);
    case "tool_use":
      return countTokens(block.name) + countTokens(JSON.stringify(block.input));
    case "tool_result":
      return resultTokens(block.content);
  }
}

function blockMark(block: ContentBlock): CacheMark {
  return block.type === "thinking" || block.type === "redacted_thinking"
    ? undefined
    : block.cache_control;
}

function identityOf(place: string, block: object): string {
  return `${place}:${canonicalJson({ ...block, cache_control: undefined })}`;
}

function toolTokens(tool: RequestTool): number {
  return (
    countTokens(tool.name) +
    countTokens(tool.description ?? "") +
    countTokens(JSON.stringify(tool.input_schema ?? {}))
  );
}

function textSegment(place: string, text: string): PromptSegment {
  return {
    tokens: countTokens(text),
    identity: identityOf(place, { type: "text", text }),
    breakpointTtl: undefined,
  };
}

/** Splits a request into its segments. Their tokens sum to what the call is billed as input. */
export function promptSegments(request: CountRequest): PromptSegment[] {
  const segments: PromptSegment[] = (request.tools ?? []).map((tool) => ({
    tokens: toolTokens(tool),
    identity: identityOf("tool", tool),
    breakpointTtl: ttlOf(tool.cache_control),
  }));
  if (typeof request.system === "string") segments.push(textSegment("system", request.system));
  else
    for (const block of request.system ?? [])
      segments.push({
        tokens: countTokens(block.text),
        identity: identityOf("system", block),
        breakpointTtl: ttlOf(block.cache_control),
      });
  for (const message of request.messages) {
    if (typeof message.content === "string")
      segments.push(textSegment(message.role, message.content));
    else
      for (const block of message.content)
        segments.push({
          tokens: blockTokens(block),
          identity: identityOf(message.role, block),
          breakpointTtl: ttlOf(blockMark(block)),
        });
  }
  // The top-level mark puts a breakpoint at the last block.
  const last = segments.at(-1);
  if (last !== undefined && last.breakpointTtl === undefined)
    last.breakpointTtl = ttlOf(request.cache_control);
  return segments;
}

/** All input tokens of a request, the figure that `count_tokens` answers. */
export function inputTokensOf(segments: readonly PromptSegment[]): number {
  return segments.reduce((sum, segment) => sum + segment.tokens, 0);
}

import { createHmac } from "node:crypto";
import type { CacheMarks } from "./cache-marks.ts";
import type { Json, JsonObject } from "./strict-json.ts";

/** The text that separates a workspace's cache entries from those of all others; undefined where that is switched off. */
export type CacheSalt = (workspaceId: string) => string;

/** 72 bits: more than can be tried at the price of a call each. */
const SALT_CHARACTERS = 12;
/** What the provider may put around a block, generously. */
const BLOCK_TOKENS = 16;

/**
 * Prompts are cached by their beginning, and a read is reported and cheaper: without a salt, one workspace could find
 * out whether another one had sent a text. The salt is the same in all calls of a workspace, so it keeps its own hits.
 */
export function createCacheSalt(key: string): CacheSalt {
  return (workspaceId) => {
    const digest = createHmac("sha256", key).update(workspaceId).digest("base64url");
    return `[cache scope ${digest.slice(0, SALT_CHARACTERS)}]`;
  };
}

function isObject(value: Json | undefined): value is JsonObject {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function withSalt(system: Json | undefined, salt: string): Json {
  const first = { type: "text", text: salt };
  if (Array.isArray(system)) return [first, ...system];
  return typeof system === "string" && system !== ""
    ? [first, { type: "text", text: system }]
    : [first];
}

/**
 * Tools stand before the system prompt, so a mark on them needs a salt of its own: in the description of the first
 * tool that has one. Marks on tools before it, whose definitions the provider writes, are taken out.
 */
function saltTools(tools: Json[], salt: string): { salted: boolean; unmarked: boolean } {
  let unmarked = false;
  for (const tool of tools) {
    if (!isObject(tool)) continue;
    if (tool["input_schema"] !== undefined) {
      const { description } = tool;
      tool["description"] =
        typeof description === "string" && description !== "" ? `${description}\n${salt}` : salt;
      return { salted: true, unmarked };
    }
    if (tool["cache_control"] !== undefined) unmarked = true;
    delete tool["cache_control"];
  }
  return { salted: false, unmarked };
}

/**
 * Puts the salt into a request that uses the cache; one that does not leaves nothing behind in it.
 * -> at most so many further input tokens, and what had to be taken out
 */
export function applyCacheSalt(
  fields: JsonObject,
  input: { salt: string; marks: CacheMarks },
): { tokens: number; dropped: string[] } {
  const { salt, marks } = input;
  if (marks.largestTtl === undefined) return { tokens: 0, dropped: [] };
  const each = BLOCK_TOKENS + Buffer.byteLength(salt);
  fields["system"] = withSalt(fields["system"], salt);
  const { tools } = fields;
  if (marks.firstTool === undefined || !Array.isArray(tools)) return { tokens: each, dropped: [] };
  const { salted, unmarked } = saltTools(tools, salt);
  return {
    tokens: salted ? 2 * each : each,
    dropped: unmarked ? ["tools.cache_control"] : [],
  };
}

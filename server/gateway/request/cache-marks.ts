import type { CountBody } from "./request-schema.ts";

/** Where a request asks for its prompt to be cached. */
export type CacheMarks = {
  /** The longest lifetime that is asked for anywhere: its writes are the dearest input. */
  largestTtl: "5m" | "1h" | undefined;
  /** Index of the first tool with a mark: what is cached there stands before the system prompt. */
  firstTool: number | undefined;
};

type Marked = { cache_control?: { ttl?: "5m" | "1h" | undefined } | null | undefined };

/** Finds all cache marks of a request. Data that only has the name of one, in a tool's input or schema, is none. */
export function readCacheMarks(body: CountBody): CacheMarks {
  let largestTtl: CacheMarks["largestTtl"];
  let firstTool: number | undefined;

  function look(place: object): boolean {
    const mark = "cache_control" in place ? (place as Marked).cache_control : undefined;
    if (mark === undefined || mark === null) return false;
    if (mark.ttl === "1h" || largestTtl === undefined) largestTtl = mark.ttl ?? "5m";
    return true;
  }

  look(body);
  for (const [index, tool] of (body.tools ?? []).entries()) if (look(tool)) firstTool ??= index;
  if (typeof body.system !== "string") for (const block of body.system ?? []) look(block);
  for (const { content } of body.messages) {
    if (content === undefined || typeof content === "string") continue;
    for (const block of content) {
      look(block);
      const inner =
        block.type === "tool_result"
          ? block.content
          : block.type === "document" && block.source.type === "content"
            ? block.source.content
            : undefined;
      if (inner !== undefined && typeof inner !== "string") for (const part of inner) look(part);
    }
  }
  return { largestTtl, firstTool };
}

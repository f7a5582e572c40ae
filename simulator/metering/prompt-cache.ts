import { createHash } from "node:crypto";
import type { CacheTtl, PromptSegment } from "./prompt-segments.ts";
import { inputTokensOf } from "./prompt-segments.ts";

const TTL_MS: Record<CacheTtl, number> = { "5m": 300_000, "1h": 3_600_000 };
const MAX_BREAKPOINTS = 4;
/** How many blocks before a breakpoint are searched for an older entry, as the provider documents. */
const LOOKBACK_BLOCKS = 20;

/** How the input of one call splits; the four kinds sum to all input tokens. */
export type InputSplit = {
  inputTokens: number;
  cacheWrite5mTokens: number;
  cacheWrite1hTokens: number;
  cacheReadTokens: number;
};

type CacheRequest = {
  /** Who asks: entries are never seen by another key. */
  owner: string;
  modelId: string;
  minCacheableTokens: number;
  segments: readonly PromptSegment[];
};

export type PromptCache = {
  /** Reads what is cached, writes what is marked, and says how the input splits. */
  use(request: CacheRequest): InputSplit;
  clear(): void;
};

type Prefix = { key: string; tokens: number };

function prefixesOf(request: CacheRequest): Prefix[] {
  const hash = createHash("sha256").update(`${request.owner}\n${request.modelId}\n`);
  let tokens = 0;
  return request.segments.map((segment) => {
    hash.update(`${Buffer.byteLength(segment.identity)}:`).update(segment.identity);
    tokens += segment.tokens;
    return { key: hash.copy().digest("base64"), tokens };
  });
}

/** Finds what is wrong with the breakpoints of a request; the texts are the provider's. */
export function breakpointProblem(segments: readonly PromptSegment[]): string | undefined {
  const ttls = segments.flatMap((segment) =>
    segment.breakpointTtl === undefined ? [] : [segment.breakpointTtl],
  );
  if (ttls.length > MAX_BREAKPOINTS)
    return `A maximum of ${MAX_BREAKPOINTS} blocks with cache_control may be provided. Found ${ttls.length}.`;
  return ttls.lastIndexOf("1h") > ttls.indexOf("5m") && ttls.includes("5m")
    ? "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
    : undefined;
}

/** Builds the simulated prompt cache. `clock` gives milliseconds and decides when entries expire. */
export function createPromptCache(deps: { clock: () => number }): PromptCache {
  const entries = new Map<string, { expiresAtMs: number; ttl: CacheTtl }>();

  function liveIndex(
    prefixes: readonly Prefix[],
    breakpoints: readonly number[],
    nowMs: number,
  ): number {
    for (const breakpoint of breakpoints.toReversed()) {
      for (let index = breakpoint; index >= 0 && index > breakpoint - LOOKBACK_BLOCKS; index -= 1) {
        const entry = entries.get(prefixes[index]?.key ?? "");
        if (entry !== undefined && entry.expiresAtMs > nowMs) {
          // A read starts the entry's time anew.
          entry.expiresAtMs = nowMs + TTL_MS[entry.ttl];
          return index;
        }
      }
    }
    return -1;
  }

  function use(request: CacheRequest): InputSplit {
    const nowMs = deps.clock();
    const total = inputTokensOf(request.segments);
    const breakpoints = request.segments.flatMap((segment, index) =>
      segment.breakpointTtl === undefined ? [] : [index],
    );
    const split: InputSplit = {
      inputTokens: total,
      cacheWrite5mTokens: 0,
      cacheWrite1hTokens: 0,
      cacheReadTokens: 0,
    };
    if (breakpoints.length === 0) return split;
    for (const [key, entry] of entries) if (entry.expiresAtMs <= nowMs) entries.delete(key);
    const prefixes = prefixesOf(request);
    const hit = liveIndex(prefixes, breakpoints, nowMs);
    let covered = prefixes[hit]?.tokens ?? 0;
    split.cacheReadTokens = covered;
    for (const index of breakpoints) {
      const prefix = prefixes[index];
      const ttl = request.segments[index]?.breakpointTtl;
      if (
        prefix === undefined ||
        ttl === undefined ||
        index <= hit ||
        prefix.tokens < request.minCacheableTokens
      )
        continue;
      if (ttl === "1h") split.cacheWrite1hTokens += prefix.tokens - covered;
      else split.cacheWrite5mTokens += prefix.tokens - covered;
      covered = prefix.tokens;
      entries.set(prefix.key, { expiresAtMs: nowMs + TTL_MS[ttl], ttl });
    }
    split.inputTokens = total - covered;
    return split;
  }

  return { use, clear: () => entries.clear() };
}

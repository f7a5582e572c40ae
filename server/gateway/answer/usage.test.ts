import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findPrice } from "../request/prices.ts";
import { createUsageMeter } from "./usage.ts";

const price = findPrice("claude-sonnet-4-5")!;

function verdict(first: unknown, last: unknown, ttl: "5m" | "1h" = "5m") {
  const meter = createUsageMeter(price, ttl);
  meter.note(first, false);
  meter.note(last, true);
  return meter.verdict();
}

const start = { input_tokens: 100, output_tokens: 1 };
const end = { output_tokens: 50 };
const PLAIN = 100 * 3_000 + 50 * 15_000;

describe("usage of an answer", () => {
  test("a plain answer costs its tokens", () => {
    expect(verdict(start, end)).toMatchObject({ status: "priced", costNanoUsd: PLAIN });
  });

  test("cache writes cost by their lifetime, reads by theirs", () => {
    const usage = {
      ...start,
      cache_creation_input_tokens: 30,
      cache_creation: { ephemeral_5m_input_tokens: 10, ephemeral_1h_input_tokens: 20 },
      cache_read_input_tokens: 1_000,
    };
    expect(verdict(usage, { ...end, cache_creation_input_tokens: 30 })).toMatchObject({
      costNanoUsd: PLAIN + 10 * 3_750 + 20 * 6_000 + 1_000 * 300,
    });
  });

  test("a sum of cache writes without its split is priced at the dearest lifetime asked for", () => {
    const usage = { ...end, cache_creation_input_tokens: 10 };
    expect(verdict(start, usage, "5m")).toMatchObject({ costNanoUsd: PLAIN + 10 * 3_750 });
    expect(verdict(start, usage, "1h")).toMatchObject({ costNanoUsd: PLAIN + 10 * 6_000 });
  });

  test("a compaction is billed beside the counts at the top", () => {
    const usage = {
      ...end,
      iterations: [
        { type: "compaction", input_tokens: 1_000, output_tokens: 200 },
        { type: "message", model: null, input_tokens: 100, output_tokens: 50 },
      ],
    };
    expect(verdict(start, usage)).toMatchObject({
      costNanoUsd: PLAIN + 1_000 * 3_000 + 200 * 15_000,
    });
  });

  test("counts that stand in iterations only are found", () => {
    const usage = { iterations: [{ type: "message", input_tokens: 100, output_tokens: 50 }] };
    expect(verdict(undefined, usage)).toMatchObject({ status: "priced", costNanoUsd: PLAIN });
  });

  test("an input kind that the last report repeats as 0 keeps its first figure", () => {
    expect(verdict(start, { ...end, input_tokens: 0 })).toMatchObject({ costNanoUsd: PLAIN });
  });

  test.each([
    ["no usage at all", undefined, undefined],
    ["usage that is null", null, null],
    ["no final output", start, {}],
    ["no input", {}, end],
    ["a negative count", { ...start, input_tokens: -5 }, end],
    ["a fraction", start, { output_tokens: 1.5 }],
    ["a count as text", start, { output_tokens: "50" }],
    ["a falling count", { ...start, output_tokens: 100 }, end],
    ["a count beyond all windows", start, { output_tokens: 1e15 }],
    ["NaN", start, { output_tokens: Number.NaN }],
    ["an unknown kind of tokens", start, { ...end, mystery_tokens: 7 }],
    ["an unknown kind inside the cache split", { ...start, cache_creation: { x: 1 } }, end],
    ["a server tool", start, { ...end, server_tool_use: { web_search_requests: 1 } }],
    ["fast mode", { ...start, speed: "fast" }, end],
    ["a dearer tier", { ...start, service_tier: "priority" }, end],
    ["a dearer region", { ...start, inference_geo: "us" }, end],
    ["an adviser model", start, { ...end, iterations: [{ type: "advisor_message", model: "x" }] }],
  ])("%s makes the outcome unknown", (_what, first, last) => {
    expect(verdict(first, last).status).toBe("unknown");
  });

  test("an unknown kind that counts nothing does no harm", () => {
    const usage = { ...end, server_tool_use: null, new_details: { a: 0, b: "x" }, flag: true };
    expect(verdict(start, usage)).toMatchObject({ status: "priced", costNanoUsd: PLAIN });
  });

  test("no report, whatever is in it, makes the meter throw or the cost inexact", () => {
    fc.assert(
      fc.property(fc.anything(), fc.object(), (first, last) => {
        const result = verdict(first, last);
        if (result.status === "priced") expect(Number.isSafeInteger(result.costNanoUsd)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });
});

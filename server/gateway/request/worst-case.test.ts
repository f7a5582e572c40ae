import { describe, expect, test } from "vitest";
import { findPrice } from "./prices.ts";
import { worstCase } from "./worst-case.ts";

const sonnet = findPrice("claude-sonnet-4-5")!;
const haiku = findPrice("claude-haiku-5-5")!;

describe("the worst case of a call", () => {
  test("prices all input as what is dearest of all that it can be", () => {
    const input = (largestTtl: "5m" | "1h" | undefined) =>
      worstCase(sonnet, { tokens: 1_000, largestTtl }).inputNanoUsd;
    expect(input(undefined)).toBe(1_000 * 3_000);
    expect(input("5m")).toBe(1_000 * 3_750);
    expect(input("1h")).toBe(1_000 * 6_000);
  });

  test("uses the rates of long prompts, for output too, as soon as the prompt could be one", () => {
    const at = (tokens: number) => worstCase(haiku, { tokens, largestTtl: undefined });
    expect(at(100_000)).toEqual({ inputNanoUsd: 100_000 * 100, outputNanoUsdPerToken: 500 });
    expect(at(100_001)).toEqual({ inputNanoUsd: 100_001 * 500, outputNanoUsdPerToken: 2_500 });
  });
});

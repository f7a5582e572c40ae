import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exactUsd, formatCost, formatLimit, parseUsd } from "./money.ts";

describe("money", () => {
  it.each([
    [0, "$0.00"],
    [1, "<$0.0001"],
    [49_999, "<$0.0001"],
    [50_000, "$0.0001"],
    [31_200_000, "$0.0312"],
    [999_949_999, "$0.9999"],
    [1_000_000_000, "$1.00"],
    [41_204_999_999, "$41.20"],
    [41_205_000_000, "$41.21"],
    [9_007_199_254_740_991, "$9,007,199.25"],
  ])("shows a cost of %i nano-USD as %s", (nanoUsd, text) => {
    expect(formatCost(nanoUsd)).toBe(text);
  });

  it.each([
    [500_000_000, "$0.50"],
    [10_000_000_000, "$10.00"],
    [1_234_500_000, "$1.2345"],
    [493_587_999, "$0.4935"],
    [1_500, "$0.0000015"],
  ])("shows a limit of %i nano-USD as %s", (nanoUsd, text) => {
    expect(formatLimit(nanoUsd)).toBe(text);
  });

  it.each(["", ".", "-1", "1,5", "1e3", "0.1234567891", "abc", "12345678"])(
    "refuses %j as an amount",
    (text) => {
      expect(parseUsd(text)).toBeUndefined();
    },
  );

  it("reads back every amount that it wrote, to the nano-USD", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 9_000_000_000_000_000 }), (nanoUsd) => {
        expect(parseUsd(exactUsd(nanoUsd))).toBe(nanoUsd);
      }),
    );
  });
});

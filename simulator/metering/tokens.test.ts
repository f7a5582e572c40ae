import fc from "fast-check";
import { expect, test } from "vitest";
import { countTokens, takeTokens } from "./tokens.ts";

const text = fc.string({ unit: "grapheme", maxLength: 200 });

test("a text never has more tokens than bytes, and at least a quarter of them", () => {
  fc.assert(
    fc.property(text, (value) => {
      const bytes = Buffer.byteLength(value);
      expect(countTokens(value)).toBeLessThanOrEqual(bytes);
      expect(countTokens(value)).toBeGreaterThanOrEqual(Math.ceil(bytes / 4));
    }),
  );
});

test("a cut at n tokens is a prefix of whole characters with exactly n tokens, or the whole text", () => {
  fc.assert(
    fc.property(text, fc.nat(80), (value, limit) => {
      const kept = takeTokens(value, limit);
      expect(value.startsWith(kept)).toBe(true);
      expect(kept.isWellFormed()).toBe(true);
      expect(countTokens(kept)).toBe(Math.min(limit, countTokens(value)));
    }),
  );
});

test("ASCII is counted as a quarter of its bytes, rounded up", () => {
  expect(["", "a", "abcd", "abcde"].map((value) => countTokens(value))).toEqual([0, 1, 1, 2]);
});

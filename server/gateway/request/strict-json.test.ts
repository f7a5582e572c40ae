import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseStrictJson } from "./strict-json.ts";

const parse = (text: string) => parseStrictJson(Buffer.from(text));

describe("strict JSON", () => {
  test("what JSON.stringify writes is read back as the same value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        const parsed = parse(text);
        expect(parsed.status).toBe("parsed");
        if (parsed.status === "parsed") expect(JSON.stringify(parsed.value)).toBe(text);
      }),
      { numRuns: 2_000 },
    );
  });

  test("what it accepts, JSON.parse accepts, and what it refuses of valid JSON is stated", () => {
    const piece = fc.constantFrom(
      ...'{}[],:"\\tfn-0129.eE+ \n'.split(""),
      "true",
      "null",
      '"a"',
      '"a":1',
      "\\u00e9",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join("");
        if (parse(text).status === "parsed") expect(() => JSON.parse(text)).not.toThrow();
      }),
      { numRuns: 20_000 },
    );
  });

  test.each([
    ["the same key twice", '{"a":1,"a":2}'],
    ["the same key twice, spelled differently", '{"a":1,"\\u0061":2}'],
    ["a byte order mark", '\uFEFF{"a":1}'],
    ["text after the end", '{"a":1}{"a":2}'],
    ["a trailing comma", '{"a":1,}'],
    ["a bare control character", '"a\nb"'],
    ["a number out of range", "1e999"],
    ["a leading zero", "01"],
    ["nesting beyond the limit", "[".repeat(10_000)],
    ["nothing", ""],
  ])("refuses %s", (_what, text) => {
    expect(parse(text).status).toBe("refused");
  });

  test("refuses bytes that are not UTF-8", () => {
    expect(parseStrictJson(Buffer.from([0x22, 0xff, 0x22])).status).toBe("refused");
  });

  test("refuses more values than a request can have", () => {
    expect(parse(`[${"0,".repeat(600_000)}0]`).status).toBe("refused");
  });

  test("a key named __proto__ is an ordinary key", () => {
    const parsed = parse('{"__proto__":{"max_tokens":1}}');
    expect(parsed.status === "parsed" && JSON.stringify(parsed.value)).toBe(
      '{"__proto__":{"max_tokens":1}}',
    );
    expect(({} as { max_tokens?: number }).max_tokens).toBeUndefined();
  });

  test("integers beyond the safe range keep their digits", () => {
    const text = '{"id":12345678901234567890}';
    const parsed = parse(text);
    expect(parsed.status === "parsed" && JSON.stringify(parsed.value)).toBe(text);
  });
});

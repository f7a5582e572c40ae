import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseCsv } from "./csv.ts";

const options = { separator: ",", maxRows: 1_000 };
const quote = (field: string) => `"${field.replaceAll('"', '""')}"`;

describe("parseCsv", () => {
  it("reads back what was quoted by the rules, whatever the fields hold", () => {
    const field = fc.string({ unit: fc.constantFrom("a", '"', ",", "\n", "\r", " ", "é") });
    const table = fc.array(fc.array(field, { minLength: 2, maxLength: 4 }), { maxLength: 8 });
    fc.assert(
      fc.property(table, fc.constantFrom("\n", "\r\n"), (rows, end) => {
        const text = rows.map((row) => row.map(quote).join(",") + end).join("");
        expect(parseCsv(text, options)).toEqual(rows);
      }),
    );
  });

  it.each([
    [
      "a,b\n1,2",
      [
        ["a", "b"],
        ["1", "2"],
      ],
    ],
    [
      "\uFEFFa,b\r\n1,2\r\n",
      [
        ["a", "b"],
        ["1", "2"],
      ],
    ],
    ["a\n\nb\n", [["a"], ["b"]]],
    ['a,"never closed\nb', [["a", "never closed\nb"]]],
    ["", []],
  ])("takes %j as people write it", (text, rows) => {
    expect(parseCsv(text, options)).toEqual(rows);
  });

  it("reads no more rows than it is asked for", () => {
    expect(parseCsv("a\nb\nc\nd", { separator: ",", maxRows: 2 })).toEqual([["a"], ["b"]]);
  });
});

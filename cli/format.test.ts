import fc from "fast-check";
import { expect, test } from "vitest";
import { bytes, duration, parseUsd, plain, table, usd } from "./format.ts";

const MOST_NANO_USD = 999_999 * 1_000_000_000 + 999_999_999;

test("an amount that is written out in full comes back to the nano-dollar", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: MOST_NANO_USD }), fc.boolean(), (nanoUsd, signed) => {
      const whole = Math.floor(nanoUsd / 1_000_000_000);
      const fraction = String(nanoUsd % 1_000_000_000).padStart(9, "0");
      expect(parseUsd(`${signed ? "$" : ""}${whole}.${fraction}`)).toBe(nanoUsd);
      expect(parseUsd(` ${whole}.${fraction.replace(/0+$/, "") || "0"} `)).toBe(nanoUsd);
    }),
  );
});

test("what is shown can be given back, and is off by less than its last digit", () => {
  fc.assert(
    fc.property(fc.integer({ min: 100_000, max: MOST_NANO_USD - 10_000_000 }), (nanoUsd) => {
      const shown = usd(nanoUsd);
      expect(shown).toMatch(/^\$\d+\.(\d\d|\d{4})$/);
      const back = parseUsd(shown);
      expect(back).toBeDefined();
      const lastDigit = nanoUsd < 1_000_000_000 ? 100_000 : 10_000_000;
      expect(Math.abs((back ?? 0) - nanoUsd)).toBeLessThanOrEqual(lastDigit / 2);
    }),
  );
});

test.for([
  "",
  " ",
  "-1",
  "+1",
  "1e3",
  "0x10",
  "1,5",
  "1.",
  ".5",
  "1.0000000001",
  "1000000",
  "NaN",
  "Infinity",
  "1 2",
  "$",
  "١",
])("%j is no amount", (text) => {
  expect(parseUsd(text)).toBeUndefined();
});

test("nothing is shown as nothing, and the smallest cost is not", () => {
  expect(usd(0)).toBe("$0.0000");
  expect(usd(1)).toBe("<$0.0001");
  expect(usd(99_999)).toBe("<$0.0001");
  expect(usd(100_000)).toBe("$0.0001");
});

test("an amount just below a dollar is not shown with more digits than one above", () => {
  expect(usd(999_949_999)).toBe("$0.9999");
  expect(usd(999_950_000)).toBe("$1.00");
  expect(usd(1_000_000_000)).toBe("$1.00");
});

test("durations and sizes never show a full next unit", () => {
  expect(
    [0, 999, 999.6, 1_000, 59_499, 59_500, 3_599_499, 3_599_500, 7_440_000].map(duration),
  ).toEqual([
    "0 ms",
    "999 ms",
    "1 s",
    "1 s",
    "59 s",
    "1 min 0 s",
    "59 min 59 s",
    "1 h 0 min",
    "2 h 4 min",
  ]);
  const sizes = [0, 1_023, 1_024, 1_048_524, 1_048_525, 1_048_576, 1_024 ** 3, 20 * 1_024 ** 4];
  expect(sizes.map(bytes)).toEqual([
    "0 B",
    "1023 B",
    "1.0 KB",
    "1023.9 KB",
    "1.0 MB",
    "1.0 MB",
    "1.0 GB",
    "20.0 TB",
  ]);
});

test("text of others cannot steer the terminal, and keeps its lines and letters", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const shown = plain(text);
      // oxlint-disable-next-line no-control-regex -- these are what must be gone
      expect(shown).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
      expect(plain(shown)).toBe(shown);
    }),
  );
  expect(plain("a\u001b[31mb\u001b]0;title\u0007c\u009b2Jd\te\nf – ü 漢 😀")).toBe(
    "a[31mb]0;titlec2Jd\te\nf – ü 漢 😀",
  );
});

test("text that pretends to be written in another direction is shown as it is", () => {
  expect(plain("invoice\u202Efdp.exe \u2066x\u2069")).toBe("invoicefdp.exe x");
});

test("a table's columns begin at the same place in every row, whatever is in them", () => {
  const cell = fc
    .string({ unit: fc.constantFrom("a", "b", "7", " ", "-") })
    .map((text) => `x${text.trim()}`);
  fc.assert(
    fc.property(fc.array(fc.tuple(cell, cell, cell), { maxLength: 20 }), (rows) => {
      const header = ["ONE", "TWO", "THREE"];
      const lines = table(header, rows).split("\n");
      expect(lines).toHaveLength(rows.length + 1);
      const widthOf = (column: number): number =>
        Math.max(...[header, ...rows].map((row) => row[column]?.length ?? 0));
      const [second, third] = [widthOf(0) + 2, widthOf(0) + widthOf(1) + 4];
      for (const [index, row] of [header, ...rows].entries()) {
        const line = lines[index] ?? "";
        expect([
          line.slice(0, second).trimEnd(),
          line.slice(second, third).trimEnd(),
          line.slice(third),
        ]).toEqual(row);
        expect(line).toBe(line.trimEnd());
      }
    }),
  );
  expect(table(["A", "B"], [])).toBe("A  B");
});

test("a line break in a cell does not break the table", () => {
  expect(table(["A", "B"], [["x\ny", "z"]])).toBe("A    B\nx y  z");
});

import { isAbsolute, resolve, sep } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isInput, parseRelativePath } from "./relative-path.ts";

const parts = fc.oneof(
  fc.constantFrom(
    "..",
    ".",
    "",
    "a",
    "input",
    "...",
    ".. ",
    "..\\",
    "%2e%2e",
    "~",
    "C:",
    "a\0",
    "\u202e",
  ),
  fc.string({ unit: "binary", maxLength: 8 }),
);
const anyPath = fc
  .tuple(
    fc.constantFrom("", "/", "//", "\\", "C:/", "./", "../"),
    fc.array(parts, { maxLength: 8 }),
  )
  .map(([start, rest]) => start + rest.join("/"));

describe("the spelling of a path", () => {
  test("no accepted path leaves the folder, and each is kept as it was written", () => {
    fc.assert(
      fc.property(anyPath, (raw) => {
        const parsed = parseRelativePath(raw);
        if (!parsed.ok) return;
        const root = resolve("/srv/run");
        expect(isAbsolute(parsed.path)).toBe(false);
        expect(resolve(root, parsed.path).startsWith(root + sep)).toBe(true);
        expect(parsed.segments.join("/")).toBe(raw);
      }),
      { numRuns: 5000 },
    );
  });

  test.each([
    ["", "empty"],
    ["/etc/passwd", "absolute"],
    ["C:/Windows", "absolute"],
    ["..", '".."'],
    ["../a", '".."'],
    ["input/../../a", '".."'],
    ["./a", '"."'],
    ["a//b", "empty part"],
    ["a/", "empty part"],
    ["a\0b", "NUL"],
    ["a\nb", "control character"],
    ["a\u007fb", "control character"],
    ["a\u202egnp.exe", "control character"],
    ["a\\b", "backslash"],
    ["\ud800", "Unicode"],
    ["x".repeat(256), "longer than 255"],
    ["é".repeat(128), "longer than 255"],
    [`${"x/".repeat(2050)}x`, "longer than 4096"],
    [`${"x/".repeat(64)}x`, "64 folders"],
    [".guildhall-unfinished-1", "reserved"],
  ])("%j is refused and the reason is named", (raw, reason) => {
    expect(parseRelativePath(raw)).toMatchObject({
      ok: false,
      reason: expect.stringContaining(reason),
    });
  });

  test.each(["a.csv", "input/a.csv", "...", "a b/c", "日本/表.csv", ".hidden", "x".repeat(255)])(
    "%j is accepted",
    (raw) => {
      expect(parseRelativePath(raw)).toEqual({ ok: true, path: raw, segments: raw.split("/") });
    },
  );

  test("input is recognised whatever its case, because some file systems ignore case", () => {
    expect(isInput(["input", "a"])).toBe(true);
    expect(isInput(["INPUT"])).toBe(true);
    expect(isInput(["inputs"])).toBe(false);
    expect(isInput(["a", "input"])).toBe(false);
  });
});

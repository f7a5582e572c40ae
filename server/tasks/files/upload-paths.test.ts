import fc from "fast-check";
import { posix } from "node:path";
import { expect, test } from "vitest";
import { createUploadPaths } from "./upload-paths.ts";

const add = (path: string) => createUploadPaths().add(path);

test.each([
  ["a.csv", "a.csv"],
  ["data/2024/a b (1).csv", "data/2024/a b (1).csv"],
  ["./data/a.csv", "data/a.csv"],
  [".hidden", ".hidden"],
  ["..a/b..", "..a/b.."],
  ["re\u0301sume\u0301.md", "r\u00e9sum\u00e9.md"],
  ["日本/データ.csv", "日本/データ.csv"],
])("%s is kept as %s", (given, kept) => {
  expect(add(given)).toEqual({ path: kept });
});

test.each([
  "",
  ".",
  "./",
  "..",
  "../a",
  "a/../b",
  "a/..",
  "/etc/passwd",
  "//a",
  "a//b",
  "a/",
  "a/./b",
  "a\\b",
  "..\\a",
  "a\0b",
  "a\nb",
  "a\u0085b",
  "a\u202egpj.exe",
  "\ud800",
  "x".repeat(256),
  "é".repeat(128),
  `${"d/".repeat(600)}a`,
])("the path %j is refused", (path) => {
  expect(add(path)).toHaveProperty("problem");
});

test("a path comes once, also in another case or another form of Unicode", () => {
  for (const [first, second] of [
    ["a.csv", "a.csv"],
    ["a.csv", "./a.csv"],
    ["A.csv", "a.csv"],
    ["r\u00e9.md", "re\u0301.md"],
  ] as const) {
    const paths = createUploadPaths();
    expect(paths.add(first)).toHaveProperty("path");
    expect(paths.add(second)).toEqual({
      problem: { field: "files.1", message: "another file has this path" },
    });
  }
});

test("a file and a folder cannot have the same path, in either order", () => {
  for (const order of [
    ["data", "data/a.csv"],
    ["data/a.csv", "Data"],
    ["a/b/c", "a/b"],
  ] as const) {
    const paths = createUploadPaths();
    expect(paths.add(order[0])).toHaveProperty("path");
    expect(paths.add(order[1])).toHaveProperty("problem");
  }
});

test("whatever is kept lies below the folder, exactly where its path says", () => {
  const part = fc.oneof(fc.constantFrom("..", ".", "", "a", "\\", "/", "~", "C:"), fc.string());
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
      const result = add(parts.join("/"));
      if (!("path" in result)) return;
      const resolved = posix.resolve("/run/input", result.path);
      expect(resolved).toBe(`/run/input/${result.path}`);
    }),
    { numRuns: 2_000 },
  );
});

import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { withConfigTable } from "./platform/config-table.ts";

it("README lists every setting as the program knows it (else: npm run readme)", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  // The formatter pads the columns; the words are what counts.
  const words = (text: string): string => text.replace(/-+/g, "-").replace(/\s+/g, " ");
  expect(words(readme)).toBe(words(withConfigTable(readme)));
});

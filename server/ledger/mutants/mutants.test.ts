import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { mutants } from "./mutants.ts";

const root = join(import.meta.dirname, "../../..");

it.each(mutants)("what the mutant $name ($place) changes is in the code, once", async (mutant) => {
  const text = await readFile(join(root, mutant.file), "utf8");
  for (const { find } of mutant.edits) expect(text.split(find)).toHaveLength(2);
});

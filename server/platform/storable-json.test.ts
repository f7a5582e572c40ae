import fc from "fast-check";
import { expect, it } from "vitest";
import { createTestDatabase } from "../test/database.ts";
import { canonicalJson, storableJson } from "./storable-json.ts";

const { admin } = await createTestDatabase();

/** JSON with what models and files bring: NUL, lone surrogates, odd keys. */
const value = fc
  .jsonValue({ maxDepth: 3, stringUnit: "binary" })
  .map((json) => [json, { "a\u0000": "\uD800x\u0000", ["__proto__"]: json }]);

it("whatever comes back from jsonb is the canonical form of what was stored, to the byte", async () => {
  await fc.assert(
    fc.asyncProperty(value, async (original) => {
      const canonical = canonicalJson(original);
      const { rows } = await admin.query<{ kept: unknown }>("SELECT $1::jsonb AS kept", [
        storableJson(canonical),
      ]);
      expect(JSON.stringify(canonicalJson(rows[0]!.kept))).toBe(JSON.stringify(canonical));
    }),
    { numRuns: 200 },
  );
});

it("jsonb accepts text of any bytes, and only what it cannot keep is replaced", async () => {
  const text = "a\u0000b\uD800c\u{1F600}é";
  const { rows } = await admin.query<{ kept: string }>("SELECT $1::jsonb->>'text' AS kept", [
    storableJson({ text }),
  ]);
  expect(rows[0]!.kept).toBe("a\uFFFDb\uFFFDc\u{1F600}é");
});

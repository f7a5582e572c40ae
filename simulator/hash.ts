import { createHash } from "node:crypto";

/** The first `length` hex digits of a SHA-256 over the parts, with their borders made unambiguous. */
export function hashOf(parts: readonly string[], length = 24): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return hash.digest("hex").slice(0, length);
}

/** JSON with sorted keys, so that two spellings of one value hash alike. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/**
 * What Postgres can keep as jsonb: it refuses U+0000 and lone surrogates, and both arrive from models and files.
 * They become U+FFFD, the character for what could not be represented.
 */
export function storableText(text: string): string {
  return text.replaceAll("\u0000", "\uFFFD").toWellFormed();
}

/** JSON text that jsonb accepts. */
export function storableJson(value: unknown): string {
  const text = JSON.stringify(value);
  // What jsonb refuses stands escaped in JSON, and most texts have no escape: they need no look at each member.
  return text.includes("\\u") ? withStorableText(value) : text;
}

function withStorableText(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    typeof member === "string" ? storableText(member) : member,
  );
}

/**
 * The value as it comes back from jsonb, with the keys of every object sorted: jsonb does not keep their order, so
 * this is the one form in which a live value and a reloaded one are the same text.
 */
export function canonicalJson(value: unknown): unknown {
  return sorted(JSON.parse(JSON.stringify(value)));
}

function sorted(value: unknown): unknown {
  if (typeof value === "string") return storableText(value);
  if (Array.isArray(value)) return value.map((member) => sorted(member));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, member]) => [storableText(key), sorted(member)] as const)
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}

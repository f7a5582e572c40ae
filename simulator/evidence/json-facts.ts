import type { FileRead } from "./file-reads.ts";
import { counted } from "./markdown.ts";

const MAX_KEYS = 12;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function recordsOf(read: FileRead): unknown[] | undefined {
  if (/\.(ndjson|jsonl)$/i.test(read.path))
    return read.content.split("\n").flatMap((line) => parse(line) ?? []);
  const value = /\.json$/i.test(read.path) ? parse(read.content) : undefined;
  if (value === undefined) return undefined;
  return Array.isArray(value) ? value : [value];
}

/** What the records of a JSON file hold, as list items; none for other files and broken JSON. */
export function jsonFindings(read: FileRead): string[] {
  const records = recordsOf(read);
  if (records === undefined) return [];
  const counts = new Map<string, { present: number; nulls: number }>();
  for (const record of records) {
    if (record === null || typeof record !== "object") continue;
    for (const [key, value] of Object.entries(record)) {
      const entry = counts.get(key) ?? { present: 0, nulls: 0 };
      counts.set(key, {
        present: entry.present + 1,
        nulls: entry.nulls + (value === null ? 1 : 0),
      });
    }
  }
  const keys = [...counts].slice(0, MAX_KEYS).map(([key, { present, nulls }]) => {
    return `${key}: in ${present} of ${records.length}${nulls > 0 ? `, null in ${nulls}` : ""}`;
  });
  return [`${counted(records.length, "record")}, ${counted(counts.size, "key")}`, ...keys];
}

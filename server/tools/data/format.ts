import { toolError } from "../errors.ts";
import { guessEncoding, type TextEncoding } from "../builtin/text-encoding.ts";

export type DataFormat = "csv" | "json" | "parquet";

/** How to read a file: what the rest of the profile needs to know about its bytes. */
export type DataLayout =
  | { format: "csv"; delimiter: string; encoding: "utf-8" | "utf-16" | "latin-1" }
  | { format: "json" }
  | { format: "parquet" };

const formatByExtension: Readonly<Record<string, DataFormat>> = {
  csv: "csv",
  tsv: "csv",
  tab: "csv",
  json: "json",
  jsonl: "json",
  ndjson: "json",
  parquet: "parquet",
  pq: "parquet",
};

const readable = "profile_data reads CSV, TSV, JSON, NDJSON and Parquet";
const delimiters = [",", ";", "\t", "|"] as const;

function notData(path: string, reason: string, hint?: string) {
  return toolError({
    code: "data_not_readable",
    publicMessage: `"${path}" cannot be profiled: ${reason}.`,
    hint: hint ?? `${readable}; for other text use read_file or search_files.`,
  });
}

/** Fields per line of the sample, quoted delimiters and line breaks left aside. */
function countPerLine(sample: string, delimiter: string): number[] {
  const counts: number[] = [];
  let count = 0;
  let quoted = false;
  for (const character of sample) {
    if (character === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (character === delimiter) count += 1;
    else if (character === "\n") {
      counts.push(count);
      count = 0;
    }
  }
  if (counts.length === 0) counts.push(count);
  return counts;
}

/**
 * The delimiter that splits most lines of the sample into the number of fields that the first line
 * has. DuckDB's own guess gives up on a delimiter as soon as some lines are ragged, and would then
 * report a single column.
 */
export function guessDelimiter(sample: string): string {
  let best = { delimiter: ",", lines: 0, fields: 0 };
  for (const delimiter of delimiters) {
    const counts = countPerLine(sample, delimiter);
    const fields = counts[0] ?? 0;
    if (fields === 0) continue;
    const lines = counts.filter((count) => count === fields).length;
    if (lines > best.lines || (lines === best.lines && fields > best.fields)) {
      best = { delimiter, lines, fields };
    }
  }
  return best.delimiter;
}

const readerEncoding = {
  "utf-8": "utf-8",
  "utf-16le": "utf-16",
  "utf-16be": undefined,
  "windows-1252": "latin-1",
} as const satisfies Record<TextEncoding, string | undefined>;

function csvLayout(path: string, extension: string, sample: Uint8Array): DataLayout {
  const guessed = guessEncoding(sample);
  const encoding = guessed === undefined ? undefined : readerEncoding[guessed];
  if (guessed === undefined) throw notData(path, "it has the name of a text table but is binary");
  if (encoding === undefined)
    throw notData(path, "it is encoded as big-endian UTF-16", "Save it as UTF-8.");
  const text = new TextDecoder(guessed).decode(sample);
  if (text.trim() === "") throw notData(path, "it contains only blank lines", "Check the file.");
  const tabbed = extension === "tsv" || extension === "tab";
  return { format: "csv", encoding, delimiter: tabbed ? "\t" : guessDelimiter(text) };
}

function startsWith(sample: Uint8Array, ascii: string): boolean {
  return Buffer.from(sample.subarray(0, ascii.length)).toString("latin1") === ascii;
}

/** Decides by name and first bytes how a file is read; `data_not_readable` when it is no table of data. */
export function detectLayout(file: {
  path: string;
  sizeBytes: number;
  sample: Uint8Array;
}): DataLayout {
  const { path, sizeBytes, sample } = file;
  if (sizeBytes === 0) throw notData(path, "it is empty (0 bytes)", "Check the file.");
  const extension = /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? "";
  const format = formatByExtension[extension];
  if (format === undefined) throw notData(path, "its name is not that of a table of data");
  if (format === "parquet") {
    if (!startsWith(sample, "PAR1"))
      throw notData(path, "it is named like a Parquet file but is none");
    return { format };
  }
  if (startsWith(sample, "PAR1"))
    throw notData(path, `it is a Parquet file named ".${extension}"`, "Rename it.");
  if (format === "csv") return csvLayout(path, extension, sample);
  if (guessEncoding(sample) === undefined)
    throw notData(path, "it is named like a JSON file but is binary");
  return { format };
}

/** What a sample of a delimited file shows about one column. */
type SampleColumn = {
  name: string;
  type: "number" | "date" | "text" | "empty";
  blanks: number;
  distinct: number;
  min: number | undefined;
  max: number | undefined;
  sum: number;
};

export type Sample = {
  header: readonly string[];
  rows: readonly (readonly string[])[];
  raggedRows: readonly number[];
  columns: readonly SampleColumn[];
};

/** Splits delimited text into records; quotes may hide delimiters and line breaks. */
export function parseDelimited(text: string, delimiter: string): string[][] {
  const records: string[][] = [];
  let record: string[] = [];
  let field = "";
  let quoted = false;
  const endField = (): void => {
    record.push(field);
    field = "";
  };
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index] ?? "";
    if (quoted) {
      if (character !== '"') field += character;
      else if (text[index + 1] === '"') {
        field += '"';
        index += 1;
      } else quoted = false;
    } else if (character === '"' && field === "") quoted = true;
    else if (character === delimiter) endField();
    else if (character === "\n") {
      endField();
      records.push(record);
      record = [];
    } else if (character !== "\r") field += character;
  }
  if (field !== "" || record.length > 0) {
    endField();
    records.push(record);
  }
  return records.filter((entry) => entry.some((value) => value !== ""));
}

function isBlank(value: string): boolean {
  return value.trim() === "" || /^(null|n\/a|nan|none)$/i.test(value.trim());
}

function typeOf(values: readonly string[]): SampleColumn["type"] {
  if (values.length === 0) return "empty";
  if (values.every((value) => Number.isFinite(Number(value)))) return "number";
  return values.every((value) => /^\d{4}-\d{2}-\d{2}/.test(value)) ? "date" : "text";
}

function columnOf(name: string, values: readonly string[]): SampleColumn {
  const filled = values.filter((value) => !isBlank(value));
  const type = typeOf(filled);
  const numbers = type === "number" ? filled.map(Number) : [];
  return {
    name,
    type,
    blanks: values.length - filled.length,
    distinct: new Set(filled).size,
    min: numbers.length === 0 ? undefined : numbers.reduce((low, value) => Math.min(low, value)),
    max: numbers.length === 0 ? undefined : numbers.reduce((high, value) => Math.max(high, value)),
    sum: numbers.reduce((total, value) => total + value, 0),
  };
}

/** Reads a sample of a CSV or TSV file: the first record is the header. */
export function sampleOf(content: string, path: string): Sample | undefined {
  if (!/\.(csv|tsv)$/i.test(path)) return undefined;
  const [header, ...rows] = parseDelimited(content, /\.tsv$/i.test(path) ? "\t" : ",");
  if (header === undefined) return undefined;
  const raggedRows = rows.flatMap((row, index) =>
    row.length === header.length ? [] : [index + 2],
  );
  const columns = header.map((name, index) =>
    columnOf(
      name,
      rows.map((row) => row[index] ?? ""),
    ),
  );
  return { header, rows, raggedRows, columns };
}

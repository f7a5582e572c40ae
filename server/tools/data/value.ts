import { shorten } from "../result-text.ts";

/** A value as JSON can carry it without loss: numbers beyond that are strings. */
export type ShownValue = string | number | boolean | null;

export type ColumnKind = "integer" | "decimal" | "float" | "boolean" | "text" | "time" | "other";

const maxValueLength = 100;

/** Sorts DuckDB's type names by what can be computed over them. */
export function kindOf(type: string): ColumnKind {
  if (/[\])]$/.test(type) && !/^DECIMAL\(\d+,\d+\)$/.test(type)) return "other";
  if (/^U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)$|^BIGNUM$/.test(type)) return "integer";
  if (type.startsWith("DECIMAL(")) return "decimal";
  if (type === "FLOAT" || type === "DOUBLE") return "float";
  if (type === "BOOLEAN") return "boolean";
  if (type === "VARCHAR") return "text";
  if (/^(DATE|TIME|TIMESTAMP)/.test(type)) return "time";
  return "other";
}

export function isNumeric(kind: ColumnKind): boolean {
  return kind === "integer" || kind === "decimal" || kind === "float";
}

function plainDecimal(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Turns DuckDB's text of a value into JSON. Text is shortened, numbers are never rounded. */
export function showValue(text: string | null, kind: ColumnKind): ShownValue {
  if (text === null) return null;
  if (kind === "boolean") return text === "true";
  if (!isNumeric(kind)) return shorten(text, maxValueLength);
  const number = Number(text);
  if (kind === "float") return Number.isFinite(number) ? number : text;
  if (kind === "integer") return Number.isSafeInteger(number) ? number : text;
  return String(number) === plainDecimal(text) ? number : text;
}

/** A mean is an approximation anyway: 15 digits, without the noise of binary fractions. */
export function showMean(mean: unknown): number | null {
  if (typeof mean !== "number" || !Number.isFinite(mean)) return null;
  return Number(mean.toPrecision(15));
}

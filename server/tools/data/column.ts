import { quoteName } from "./engine.ts";
import { kindOf, type ColumnKind, type ShownValue } from "./value.ts";

export type ColumnProfile = {
  name: string;
  /** DuckDB's name of the type, for example BIGINT, DOUBLE, VARCHAR, TIMESTAMP. */
  type: string;
  null_count: number;
  /** Exact, nulls not counted. */
  distinct_count: number;
  min: ShownValue;
  max: ShownValue;
  /** Only of numbers. */
  mean: number | null;
  /** The five most frequent values, ties in the order of the values. */
  top: { value: ShownValue; count: number }[];
};

/** A column while it is examined. */
export type Column = {
  name: string;
  kind: ColumnKind;
  type: string;
  /** The column as SQL; nested values as their text. */
  sql: string;
  rowCount: number;
};

export function describeColumn(name: string, type: string, rowCount: number): Column {
  const kind = kindOf(type);
  const quoted = quoteName(name);
  return {
    name,
    kind,
    type,
    rowCount,
    sql: kind === "other" ? `CAST(${quoted} AS VARCHAR)` : quoted,
  };
}

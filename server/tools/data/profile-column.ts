import type { Column, ColumnProfile } from "./column.ts";
import { quoteName, type DataCell, type DataSession } from "./engine.ts";
import { findTextIssues } from "./text-issues.ts";
import { findNumberIssues } from "./number-issues.ts";
import { isNumeric, showMean, showValue } from "./value.ts";
import { shorten } from "../result-text.ts";
import { counted } from "./wording.ts";

function textOrNull(value: DataCell | undefined): string | null {
  return value === null || value === undefined ? null : String(value);
}

async function countTop(
  session: DataSession,
  { sql, kind }: Column,
): Promise<ColumnProfile["top"]> {
  const rows = await session.query(`
    SELECT left(CAST(value AS VARCHAR), 200), count
    FROM (SELECT ${sql} AS value, count(*) AS count FROM data WHERE ${sql} IS NOT NULL
          GROUP BY 1 ORDER BY count DESC, value LIMIT 5)
    ORDER BY count DESC, value`);
  return rows.map(([value, count]) => ({
    value: showValue(textOrNull(value), kind),
    count: Number(count),
  }));
}

async function summarise(session: DataSession, column: Column) {
  const { sql, kind } = column;
  const ordered = kind !== "other";
  const mean =
    kind === "float"
      ? `favg(${sql}) FILTER (isfinite(${sql}))`
      : isNumeric(kind)
        ? `CAST(avg(${sql}) AS DOUBLE)`
        : "NULL";
  const [row] = await session.query(`
    SELECT count(${sql}), count(DISTINCT ${sql}),
      ${ordered ? `left(CAST(min(${sql}) AS VARCHAR), 200)` : "NULL"},
      ${ordered ? `left(CAST(max(${sql}) AS VARCHAR), 200)` : "NULL"},
      ${mean}
    FROM data`);
  const [filled, distinct, min, max, average] = row ?? [];
  return {
    filledCount: Number(filled),
    distinctCount: Number(distinct),
    min: showValue(textOrNull(min), kind),
    max: showValue(textOrNull(max), kind),
    mean: showMean(average),
  };
}

function showShare(part: number, whole: number): string {
  const percent = (100 * part) / whole;
  return percent < 0.1 ? "below 0.1 %" : `${Number(percent.toFixed(1))} %`;
}

function findFillIssues(profile: ColumnProfile, column: Column): string[] {
  const { name, rowCount } = column;
  if (rowCount === 0) return [];
  const { null_count: nulls, distinct_count: distinct } = profile;
  if (nulls === rowCount) return [`column "${name}" is empty in every row`];
  const issues: string[] = [];
  if (nulls > 0) {
    issues.push(
      `column "${name}": ${nulls} of ${counted(rowCount, "value")} missing (${showShare(nulls, rowCount)})`,
    );
  }
  if (distinct === 1 && nulls === 0 && rowCount > 1) {
    const value = JSON.stringify(profile.top[0]?.value);
    issues.push(`column "${name}" is constant: every row has ${value}`);
  }
  const filled = rowCount - nulls;
  const repeated = filled - distinct;
  const isKey = /(^|[_\s-])(id|uuid|key)$/i.test(name) || /[a-z](Id|Key)$/.test(name);
  if (isKey && repeated > 0 && distinct >= filled * 0.9) {
    issues.push(
      `column "${name}" looks like a key, but is not unique: ${counted(repeated, "value")} repeated`,
    );
  }
  return issues;
}

async function findJsonIssues(session: DataSession, column: Column): Promise<string[]> {
  if (column.type !== "JSON") return [];
  const rows = await session.query(`
    SELECT CASE WHEN kind IN ('BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE') THEN 'number'
      WHEN kind = 'VARCHAR' THEN 'text' ELSE lower(kind) END, count(*)
    FROM (SELECT json_type(${quoteName(column.name)}) AS kind FROM data)
    WHERE kind IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1`);
  if (rows.length < 2) return [];
  const kinds = rows.map(([kind, count]) => `${count} ${kind}`).join(", ");
  return [`column "${column.name}" mixes types: ${kinds}`];
}

/** Profiles one column of the relation `data` and says what is odd about it. */
export async function profileColumn(
  session: DataSession,
  column: Column,
): Promise<{ profile: ColumnProfile; issues: string[] }> {
  const summary = await summarise(session, column);
  const profile: ColumnProfile = {
    name: shorten(column.name, 200),
    type: shorten(column.type, 100),
    null_count: column.rowCount - summary.filledCount,
    distinct_count: summary.distinctCount,
    min: summary.min,
    max: summary.max,
    mean: summary.mean,
    top: await countTop(session, column),
  };
  const issues = findFillIssues(profile, column);
  if (summary.filledCount > 0) {
    if (column.kind === "text") issues.push(...(await findTextIssues(session, column, profile)));
    if (isNumeric(column.kind)) issues.push(...(await findNumberIssues(session, column)));
    issues.push(...(await findJsonIssues(session, column)));
  }
  return { profile, issues };
}

import type { Column, ColumnProfile } from "./column.ts";
import type { DataSession } from "./engine.ts";
import { shorten } from "../result-text.ts";
import { counted } from "./wording.ts";

const placeholders =
  "('n/a', 'na', 'null', 'none', 'nan', 'nil', '-', '--', '?', 'unknown', 'tbd', '#n/a')";
/** Above this many different values a column is free text, where spelling variants mean nothing. */
const maxVariants = 1000;

type TextCounts = {
  blank: number;
  padded: number;
  placeholder: number;
  /** Neither blank nor a placeholder. */
  meaningful: number;
  numeric: number;
  dated: number;
  oddNumber: string | null;
  oddDate: string | null;
};

async function count(session: DataSession, { sql }: Column): Promise<TextCounts> {
  const [row] = await session.query(`
    WITH texts AS (SELECT ${sql} AS raw, trim(${sql}) AS value FROM data WHERE ${sql} IS NOT NULL),
    judged AS (SELECT *, value <> '' AND lower(value) NOT IN ${placeholders} AS meaningful,
      TRY_CAST(value AS DOUBLE) IS NOT NULL AS numeric, TRY_CAST(value AS DATE) IS NOT NULL AS dated FROM texts)
    SELECT count(*) FILTER (value = ''), count(*) FILTER (value <> '' AND raw <> value),
      count(*) FILTER (value <> '' AND NOT meaningful), count(*) FILTER (meaningful),
      count(*) FILTER (meaningful AND numeric), count(*) FILTER (meaningful AND dated),
      left(min(value) FILTER (meaningful AND NOT numeric), 100),
      left(min(value) FILTER (meaningful AND NOT dated), 100)
    FROM judged`);
  const [blank, padded, placeholder, meaningful, numeric, dated, oddNumber, oddDate] = row ?? [];
  return {
    blank: Number(blank),
    padded: Number(padded),
    placeholder: Number(placeholder),
    meaningful: Number(meaningful),
    numeric: Number(numeric),
    dated: Number(dated),
    oddNumber: typeof oddNumber === "string" ? oddNumber : null,
    oddDate: typeof oddDate === "string" ? oddDate : null,
  };
}

function findMixture(name: string, counts: TextCounts): string[] {
  const { meaningful, numeric, dated } = counts;
  const isMost = (part: number) => part < meaningful && part * 2 >= meaningful;
  if (isMost(numeric)) {
    const odd = JSON.stringify(shorten(counts.oddNumber ?? "", 40));
    return [
      `column "${name}" mixes types: ${numeric} of ${meaningful} values are numbers, the others are not, for example ${odd}`,
    ];
  }
  if (isMost(dated)) {
    const odd = JSON.stringify(shorten(counts.oddDate ?? "", 40));
    return [
      `column "${name}" mixes types: ${dated} of ${meaningful} values are dates (YYYY-MM-DD), the others are not, for example ${odd}`,
    ];
  }
  return [];
}

async function findVariants(
  session: DataSession,
  column: Column,
  distinct: number,
): Promise<string[]> {
  if (distinct > maxVariants) return [];
  const [row] = await session.query(
    `SELECT count(DISTINCT lower(trim(${column.sql})))::INTEGER FROM data WHERE ${column.sql} IS NOT NULL`,
  );
  const variants = distinct - Number(row?.[0] ?? distinct);
  if (variants === 0) return [];
  return [
    `column "${column.name}": ${counted(variants, "spelling variant")} (same text but for case or spaces around it)`,
  ];
}

/** What is odd about a column of text: gaps in disguise, stray spaces, mixed types, spelling variants. */
export async function findTextIssues(
  session: DataSession,
  column: Column,
  profile: ColumnProfile,
): Promise<string[]> {
  const counts = await count(session, column);
  const { name } = column;
  const issues: string[] = [];
  if (counts.blank > 0)
    issues.push(`column "${name}": ${counted(counts.blank, "value")} of blank text`);
  if (counts.placeholder > 0) {
    issues.push(
      `column "${name}": ${counted(counts.placeholder, "placeholder")} instead of a value, such as "N/A" or "unknown"`,
    );
  }
  if (counts.padded > 0)
    issues.push(`column "${name}": ${counted(counts.padded, "value")} with spaces around the text`);
  issues.push(...findMixture(name, counts));
  issues.push(...(await findVariants(session, column, profile.distinct_count)));
  return issues;
}

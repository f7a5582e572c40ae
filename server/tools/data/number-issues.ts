import type { Column } from "./column.ts";
import type { DataCell, DataSession } from "./engine.ts";
import { counted } from "./wording.ts";

/** Names of what is counted or measured and so cannot be below zero. */
const countLike =
  /(^|[_\s-])(count|cnt|qty|quantity|units?|items?|stock|inventory|visits|clicks|views|impressions|age|duration|size|bytes|length|weight|population|price)($|[_\s-])/i;

/** How far from the middle half of the values a value counts as an outlier. */
const outlierSpreads = 10;

function isCountLike(name: string): boolean {
  // itemCount and unitPrice read like item_count and unit_price.
  return countLike.test(name.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2"));
}

async function findOutliers(session: DataSession, column: Column): Promise<string[]> {
  const value = `CAST(${column.sql} AS DOUBLE)`;
  // Quartiles by t-digest: exact ones would hold every value in memory.
  const [row] = await session.query(`
    WITH values AS (SELECT ${value} AS v FROM data WHERE ${column.sql} IS NOT NULL AND isfinite(${value})),
    spread AS (SELECT approx_quantile(v, 0.25) AS q1, approx_quantile(v, 0.75) AS q3 FROM values),
    bounds AS (SELECT q1 - ${outlierSpreads} * (q3 - q1) AS low, q3 + ${outlierSpreads} * (q3 - q1) AS high
               FROM spread WHERE q3 > q1)
    SELECT count(*)::INTEGER, first(v ORDER BY abs(v - (low + high) / 2) DESC), first(low), first(high)
    FROM values, bounds WHERE v < low OR v > high`);
  const [count, farthest, low, high] = row ?? [];
  if (Number(count ?? 0) === 0) return [];
  const show = (limit: DataCell | undefined) => Number(Number(limit).toPrecision(4));
  return [
    `column "${column.name}": ${counted(Number(count), "outlier")}, more than ${outlierSpreads} interquartile ranges from the middle half ` +
      `(outside ${show(low)} to ${show(high)}); the farthest is ${Number(farthest)}`,
  ];
}

/** What is odd about a column of numbers: impossible signs, values that are no numbers, outliers. */
export async function findNumberIssues(session: DataSession, column: Column): Promise<string[]> {
  const { sql, name } = column;
  const issues: string[] = [];
  const [row] = await session.query(`
    SELECT count(*) FILTER (${sql} < 0)::INTEGER,
      ${column.kind === "float" ? `count(*) FILTER (NOT isfinite(${sql}))` : "0"}::INTEGER FROM data`);
  const [negative, notFinite] = row ?? [];
  if (isCountLike(name) && Number(negative) > 0) {
    issues.push(
      `column "${name}": ${counted(Number(negative), "negative value")}, which its name rules out`,
    );
  }
  if (Number(notFinite) > 0)
    issues.push(`column "${name}": ${counted(Number(notFinite), "value")} NaN or infinite`);
  issues.push(...(await findOutliers(session, column)));
  return issues;
}

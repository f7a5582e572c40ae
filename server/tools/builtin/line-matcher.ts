import { isStatementError, type DataSession } from "../data/engine.ts";
import { toolError } from "../errors.ts";

export type LineMatch = { index: number; matched: string };

/** Finds which of `texts` match, in order. */
export type LineMatcher = (texts: readonly string[]) => Promise<LineMatch[]>;

export function createLiteralMatcher(query: string): LineMatcher {
  const wanted = query.toLowerCase();
  return (texts) => {
    const matches: LineMatch[] = [];
    for (const [index, text] of texts.entries()) {
      if (text.toLowerCase().includes(wanted)) matches.push({ index, matched: query });
    }
    return Promise.resolve(matches);
  };
}

const matchStatement = `
  SELECT position, regexp_extract(line, $2, 0, 'i')
  FROM (SELECT unnest(string_split($1, chr(10))) AS line, generate_subscripts(string_split($1, chr(10)), 1) AS position)
  WHERE regexp_matches(line, $2, 'i')
  ORDER BY position`;

/**
 * Regular expressions by RE2, which DuckDB brings along: its time is linear in the text for every
 * pattern. JavaScript's own engine backtracks, and one pattern of a model could hold up the process.
 */
export async function createRegexMatcher(
  session: DataSession,
  pattern: string,
): Promise<LineMatcher> {
  try {
    await session.query("SELECT regexp_matches('', $1, 'i')", [pattern]);
  } catch (error) {
    if (!isStatementError(error)) throw error;
    throw toolError({
      code: "pattern_not_valid",
      publicMessage: `The regular expression is not valid: ${reasonOf(error)}.`,
      hint: 'The syntax is RE2 (no look-around, no back-references). Leave "regex" out to search for the text as it is.',
      cause: error,
    });
  }
  return async (texts) => {
    const rows = await session.query(matchStatement, [texts.join("\n"), pattern]);
    return rows.map(([position, matched]) => ({
      index: Number(position) - 1,
      matched: String(matched),
    }));
  };
}

function reasonOf(error: Error): string {
  const line = error.message.split("\n")[0] ?? "";
  return line.replace(/^[\w ]*Error: /, "").replace(/[\s.:]+$/, "");
}

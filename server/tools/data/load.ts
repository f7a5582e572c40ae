import { toolError } from "../errors.ts";
import { isStatementError, quoteText, type DataSession } from "./engine.ts";
import type { DataLayout } from "./format.ts";
import { counted } from "./wording.ts";

/** What reading the file into the relation `data` has shown. */
export type Loaded = { layout: DataLayout; issues: string[] };

const rejectedBecause: Readonly<Record<string, string>> = {
  "MISSING COLUMNS": "fewer fields than the header",
  "TOO MANY COLUMNS": "more fields than the header",
  "UNQUOTED VALUE": "broken quotes",
  "LINE SIZE OVER MAXIMUM": "more than 2 MB in one row",
  CAST: "a value that does not fit the type of its column",
};

function csvStatement(path: string, layout: Extract<DataLayout, { format: "csv" }>): string {
  // Types come from every row (sample_size), not from the first ones. Rows that do not fit are kept
  // aside and reported: padding them would move values into the wrong columns.
  return `
    CREATE OR REPLACE TABLE data AS SELECT * FROM read_csv(${quoteText(path)},
      delim = ${quoteText(layout.delimiter)}, quote = '"', escape = '"', encoding = ${quoteText(layout.encoding)},
      compression = 'none', sample_size = -1, ignore_errors = true, store_rejects = true)`;
}

async function listRejected(session: DataSession) {
  // One row may be rejected for several reasons; the ragged ones say more than the casts they cause.
  const rows = await session.query(`
    SELECT error_type, count(*)::INTEGER, list_slice(list(line ORDER BY line), 1, 5)::VARCHAR
    FROM (SELECT scan_id, line, max(error_type::VARCHAR) AS error_type FROM reject_errors GROUP BY ALL)
    WHERE scan_id = (SELECT max(scan_id) FROM reject_errors)
    GROUP BY error_type ORDER BY error_type`);
  return rows.map(([kind, count, lines]) => ({
    kind: String(kind),
    count: Number(count),
    lines: String(lines).replaceAll(/[[\]]/g, ""),
  }));
}

async function loadCsv(
  session: DataSession,
  path: string,
  layout: Extract<DataLayout, { format: "csv" }>,
): Promise<Loaded> {
  await session.query(csvStatement(path, layout));
  const rejected = await listRejected(session);
  if (layout.encoding === "utf-8" && rejected.some(({ kind }) => kind === "INVALID ENCODING")) {
    return loadCsv(session, path, { ...layout, encoding: "latin-1" });
  }
  const issues = rejected.map(({ kind, count, lines }) => {
    const where = `line ${lines}${count > 5 ? ", ..." : ""}`;
    const reason = rejectedBecause[kind] ?? kind.toLowerCase();
    return `${counted(count, "row")} with ${reason} (${where}), left out of the figures`;
  });
  if (layout.encoding === "latin-1") issues.push("the file is not UTF-8; it was read as Latin-1");
  return { layout, issues };
}

/**
 * How many records are looked at to find fields and types. Looking at all of them would take about
 * five times the size of an array in memory; where records are large, fewer must do.
 */
const jsonSamples = [200_000, 20_000, 2_000] as const;

function jsonStatement(job: { path: string; sample: number; untyped: boolean }): string {
  const depth = job.untyped ? ", maximum_depth = 1" : "";
  return `CREATE OR REPLACE TABLE data AS SELECT * FROM read_json(${quoteText(job.path)},
    format = 'auto', sample_size = ${job.sample}${depth})`;
}

type JsonOutcome = "read" | "out_of_memory" | "other_type_after_sample";

async function tryJson(
  session: DataSession,
  job: { path: string; sample: number; untyped: boolean },
): Promise<JsonOutcome> {
  try {
    await session.query(jsonStatement(job));
    return "read";
  } catch (error) {
    if (!isStatementError(error)) throw error;
    if (error.message.startsWith("Out of Memory")) return "out_of_memory";
    if (!job.untyped && error.message.includes("sample_size")) return "other_type_after_sample";
    throw error;
  }
}

async function loadJson(session: DataSession, path: string, layout: DataLayout): Promise<Loaded> {
  let untyped = false;
  for (const sample of jsonSamples) {
    let outcome = await tryJson(session, { path, sample, untyped });
    if (outcome === "other_type_after_sample") {
      // Every field as it stands in the file: slower to look at, but no record is lost.
      untyped = true;
      outcome = await tryJson(session, { path, sample, untyped });
    }
    if (outcome !== "read") continue;
    const [row] = await session.query("SELECT count(*) FROM data");
    const sampled = Number(row?.[0] ?? 0) > sample;
    const issue = `fields and types were taken from the first ${sample} records; a field that appears only later is left out`;
    return { layout, issues: sampled ? [issue] : [] };
  }
  throw toolError({
    code: "data_not_readable",
    publicMessage:
      "The JSON file cannot be profiled: its records need more memory than a profile may take.",
    hint: "Ask for it as NDJSON or CSV, or in smaller parts.",
  });
}

/** Makes the file at `path` readable as the relation `data`. */
export async function loadData(
  session: DataSession,
  path: string,
  layout: DataLayout,
): Promise<Loaded> {
  if (layout.format === "csv") return loadCsv(session, path, layout);
  if (layout.format === "json") return loadJson(session, path, layout);
  // A view: a small Parquet file may unpack to any size, so it is never held as a whole.
  await session.query(`CREATE VIEW data AS SELECT * FROM read_parquet(${quoteText(path)})`);
  return { layout, issues: [] };
}

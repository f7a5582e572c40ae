import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { readSample } from "../builtin/text-encoding.ts";
import { toolError } from "../errors.ts";
import { fitItems, shorten } from "../result-text.ts";
import type { OpenFile, RunFolder } from "../run-folder.ts";
import { describeColumn, type ColumnProfile } from "./column.ts";
import { profileColumn } from "./profile-column.ts";
import { isStatementError, type DataEngine, type DataSession } from "./engine.ts";
import { detectLayout, type DataFormat, type DataLayout } from "./format.ts";
import { loadData } from "./load.ts";
import { counted } from "./wording.ts";

/** The result of profile_data as the model reads it. Counts are exact and cover the whole file. */
export type DataProfile = {
  path: string;
  format: DataFormat;
  row_count: number;
  column_count: number;
  columns: ColumnProfile[];
  /** Rows that repeat an earlier row in every column. */
  duplicate_row_count: number;
  /** Findings in plain words, the whole file first, then column by column. */
  issues: string[];
};

const maxColumns = 200;
const maxIssues = 60;
const maxIssueLength = 300;

async function copyOut(job: {
  file: OpenFile;
  target: string;
  skipBytes: number;
  signal: AbortSignal;
}): Promise<void> {
  const source = job.file.handle.createReadStream({ start: job.skipBytes, autoClose: false });
  await pipeline(source, createWriteStream(job.target, { flags: "wx", mode: 0o600 }), {
    signal: job.signal,
  });
}

async function countDuplicates(session: DataSession, rowCount: number): Promise<number> {
  const [row] = await session.query("SELECT count(*) FROM (SELECT DISTINCT * FROM data)");
  return rowCount - Number(row?.[0] ?? rowCount);
}

async function computeProfile(job: {
  session: DataSession;
  copy: string;
  path: string;
  layout: DataLayout;
}): Promise<DataProfile> {
  const { session, copy, path, layout } = job;
  const loaded = await loadData(session, copy, layout);
  const described = await session.query("DESCRIBE data");
  const [sizes] = await session.query("SELECT count(*) FROM data");
  const rowCount = Number(sizes?.[0] ?? 0);
  if (rowCount === 0 && loaded.issues.length > 0) {
    throw notReadable(path, `no row could be read: ${loaded.issues.join("; ")}`);
  }
  const issues = [...loaded.issues];
  if (rowCount === 0) issues.push("the file has no rows");
  const names = described.map(([name]) => String(name));
  if (layout.format === "csv" && names.every((name) => /^column\d+$/.test(name))) {
    issues.push("the file seems to have no header row; columns are named by their position");
  }
  const duplicateRowCount = await countDuplicates(session, rowCount);
  if (duplicateRowCount > 0) {
    issues.push(
      `${counted(duplicateRowCount, "duplicate row")} (equal to an earlier row in every column)`,
    );
  }
  const columns: ColumnProfile[] = [];
  for (const [name, type] of described.slice(0, maxColumns)) {
    const column = describeColumn(String(name), String(type), rowCount);
    const found = await profileColumn(session, column);
    columns.push(found.profile);
    issues.push(...found.issues);
  }
  return {
    path,
    format: layout.format,
    row_count: rowCount,
    column_count: described.length,
    columns,
    duplicate_row_count: duplicateRowCount,
    issues,
  };
}

/** Keeps the result valid JSON below the size of a tool result, and says what was left out. */
function fitProfile(profile: DataProfile): DataProfile {
  const issues = profile.issues.slice(0, maxIssues).map((issue) => shorten(issue, maxIssueLength));
  const leftOut = profile.issues.length - issues.length;
  if (leftOut > 0) issues.push(`${leftOut} further issues were left out`);
  const frameBytes = 8192 + Buffer.byteLength(JSON.stringify(issues));
  const columns = fitItems(profile.columns, frameBytes);
  if (columns.length < profile.column_count) {
    issues.unshift(`only the first ${columns.length} of ${profile.column_count} columns are shown`);
  }
  return { ...profile, columns, issues };
}

function notReadable(path: string, reason: string, cause?: unknown) {
  return toolError({
    code: "data_not_readable",
    publicMessage: `"${path}" cannot be profiled: ${reason}.`,
    hint: "Look at the start of the file with read_file, if it is text.",
    cause,
  });
}

/** DuckDB's message without its class, the statement, its advice on options, and our private path. */
function reasonOf(error: Error, copy: string, path: string): string {
  if (error.message.includes("sniffing")) {
    return "its rows cannot be told apart as CSV (a quotation mark may be left open)";
  }
  if (error.message.startsWith("Out of Memory"))
    return "it needs more memory than a profile may take";
  const told = error.message.split(/\n\s*\n|\nLINE |\nPossible |\nOriginal Line/)[0] ?? "";
  const reason = told
    .replace(/^[\w ]*Error: /, "")
    .replaceAll(copy, path)
    .replaceAll(/\s+/g, " ")
    .replace(/[\s.:]+$/, "");
  return shorten(reason, 300);
}

/** A byte order mark is no part of JSON; in CSV the reader passes over it. */
function markBytes(layout: DataLayout, sample: Uint8Array): number {
  const marked = sample[0] === 0xef && sample[1] === 0xbb && sample[2] === 0xbf;
  return layout.format === "json" && marked ? 3 : 0;
}

export type Profiler = (request: {
  folder: RunFolder;
  path: string;
  signal: AbortSignal;
}) => Promise<DataProfile>;

/**
 * Profiles tables by DuckDB. The file is first copied into a private folder below `scratchFolder`,
 * the only one that the database may touch: it never sees the run's folder, and the file cannot
 * change between two statements. Errors: those of the run folder, `data_not_readable`,
 * `data_too_slow` (after `deadlineMs`); an aborted signal throws its reason.
 */
export function createProfiler(deps: {
  engine: DataEngine;
  scratchFolder: string;
  deadlineMs?: number;
}): Profiler {
  const { engine, scratchFolder, deadlineMs = 120_000 } = deps;

  async function profileCopy(request: {
    file: OpenFile;
    layout: DataLayout;
    skipBytes: number;
    signal: AbortSignal;
  }): Promise<DataProfile> {
    const { file, layout, skipBytes, signal } = request;
    await mkdir(scratchFolder, { recursive: true, mode: 0o700 });
    const directory = await mkdtemp(join(scratchFolder, "profile-"));
    const copy = join(directory, "data");
    try {
      await copyOut({ file, target: copy, skipBytes, signal });
      const work = (session: DataSession) =>
        computeProfile({ session, copy, path: file.path, layout });
      try {
        return fitProfile(await engine.use({ signal, directory, work }));
      } catch (error) {
        if (signal.aborted || !isStatementError(error)) throw error;
        throw notReadable(file.path, reasonOf(error, copy, file.path), error);
      }
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  return async ({ folder, path, signal }) => {
    const deadline = AbortSignal.timeout(deadlineMs);
    const file = await folder.openForRead(path);
    await using handle = file.handle;
    const sample = await readSample(handle);
    const layout = detectLayout({ path: file.path, sizeBytes: file.sizeBytes, sample });
    const skipBytes = markBytes(layout, sample);
    try {
      const either = AbortSignal.any([signal, deadline]);
      return await profileCopy({ file, layout, skipBytes, signal: either });
    } catch (error) {
      signal.throwIfAborted();
      if (!deadline.aborted) throw error;
      throw toolError({
        code: "data_too_slow",
        publicMessage: `"${path}" could not be profiled within ${deadlineMs / 1000} s.`,
        hint: "Ask for a smaller file or an excerpt of it.",
        cause: error,
      });
    }
  };
}

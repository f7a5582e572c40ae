import type { FileKind } from "./input-files.ts";
import { kindOf } from "./input-files.ts";
import type { FileRead } from "./file-reads.ts";

type LineNote = { line: number; text: string };

/** What the text of a file shows by counting; `logLevels` only has levels that occur. */
export type TextFacts = {
  path: string;
  kind: FileKind;
  lines: number;
  words: number;
  headings: readonly string[];
  todos: readonly LineNote[];
  logLevels: readonly { level: string; count: number }[];
  firstTime: string | undefined;
  lastTime: string | undefined;
  definitions: readonly string[];
  firstProblem: LineNote | undefined;
};

const LEVELS = ["FATAL", "CRITICAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"] as const;
const LEVEL = /\b(FATAL|CRITICAL|ERROR|WARN(?:ING)?|INFO|DEBUG|TRACE)\b/;
const TIME = /\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?/;
const DEFINITION =
  /^\s*(?:export\s+)?(?:default\s+)?(?:async\s+)?(?:function\*?|class|interface|def|func|fn|struct|trait|impl)\s+([A-Za-z_$][\w$]*)/;
const MAX_NOTES = 12;

function clip(text: string): string {
  const trimmed = text.trim();
  return trimmed.length > 120 ? `${trimmed.slice(0, 117)}...` : trimmed;
}

function notesOf(lines: readonly string[], pattern: RegExp): LineNote[] {
  return lines.flatMap((text, index) =>
    pattern.test(text) ? [{ line: index + 1, text: clip(text) }] : [],
  );
}

function levelOf(line: string): string | undefined {
  const found = LEVEL.exec(line)?.[1];
  return found === "WARNING" ? "WARN" : found;
}

function levelCounts(lines: readonly string[]): { level: string; count: number }[] {
  const levels = lines.map((line) => levelOf(line));
  return LEVELS.map((level) => ({
    level,
    count: levels.filter((found) => found === level).length,
  })).filter((entry) => entry.count > 0);
}

function headingsOf(lines: readonly string[]): string[] {
  let fenced = false;
  return lines.flatMap((line) => {
    if (line.startsWith("```")) fenced = !fenced;
    const heading = fenced ? undefined : /^#{1,6}\s+(.+)/.exec(line)?.[1];
    return heading === undefined ? [] : [clip(heading)];
  });
}

/** Counts what can be counted in a file that was read. */
export function textFactsOf(read: FileRead): TextFacts {
  const kind = kindOf(read.path);
  const lines = read.content.split("\n");
  const times = lines.flatMap((line) => TIME.exec(line)?.[0] ?? []).toSorted();
  const log = kind === "log" || (kind !== "code" && times.length > lines.length / 2);
  return {
    path: read.path,
    kind: log ? "log" : kind,
    lines: read.linesRead,
    words: read.content.split(/\s+/).filter((word) => word !== "").length,
    headings: kind === "prose" ? headingsOf(lines) : [],
    todos: notesOf(lines, /\b(TODO|FIXME|XXX|HACK)\b/).slice(0, MAX_NOTES),
    logLevels: log ? levelCounts(lines) : [],
    firstTime: log ? times[0] : undefined,
    lastTime: log ? times.at(-1) : undefined,
    definitions:
      kind === "code"
        ? lines.flatMap((line) => DEFINITION.exec(line)?.[1] ?? []).slice(0, MAX_NOTES * 2)
        : [],
    firstProblem: notesOf(lines, /\b(FATAL|CRITICAL|ERROR|Traceback|Exception)\b/)[0],
  };
}

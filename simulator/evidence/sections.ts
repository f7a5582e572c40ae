import type { Conversation } from "../personas/conversation.ts";
import type { DataColumn, DataProfile } from "./data-profiles.ts";
import { suspicions } from "./data-profiles.ts";
import { sampleOf } from "./delimited.ts";
import type { FileRead } from "./file-reads.ts";
import { jsonFindings } from "./json-facts.ts";
import { bullets, counted, figure, table } from "./markdown.ts";
import type { TextFacts } from "./text-facts.ts";
import { textFactsOf } from "./text-facts.ts";
import { failures } from "./tool-results.ts";

const MAX_COLUMNS = 30;

function topText(column: DataColumn): string {
  return (column.top ?? [])
    .slice(0, 3)
    .map((entry) => `${figure(entry.value) || "(missing)"} (${entry.count})`)
    .join(", ");
}

/** A data file's section: its size in rows and columns, a table of its columns, and what looks wrong. */
export function profileSection(data: DataProfile): string {
  const rows = data.columns
    .slice(0, MAX_COLUMNS)
    .map((column) => [
      column.name,
      column.type,
      figure(column.null_count),
      figure(column.distinct_count),
      figure(column.min),
      figure(column.max),
      figure(column.mean),
      topText(column),
    ]);
  const more = data.columns.length - rows.length;
  return [
    `## ${data.path}`,
    `${counted(data.row_count, "row")}, ${counted(data.column_count, "column")}, ${counted(data.duplicate_row_count ?? 0, "duplicate row")}${data.format === undefined ? "" : `, read as ${data.format}`}.`,
    table(["column", "type", "missing", "distinct", "min", "max", "mean", "most frequent"], rows),
    ...(more > 0 ? [`${counted(more, "more column")} not shown.`] : []),
    `### Integrity\n\n${bullets(suspicions(data), "Nothing suspicious was found: no missing values, no duplicates, no odd extremes.")}`,
  ].join("\n\n");
}

/** What a text file's facts say, as list items. */
function textFindings(facts: TextFacts): string[] {
  const span =
    facts.firstTime === undefined
      ? undefined
      : `time range: ${facts.firstTime} to ${facts.lastTime}`;
  const levels =
    facts.logLevels.length === 0
      ? undefined
      : `levels: ${facts.logLevels.map((entry) => `${entry.level} ${entry.count}`).join(", ")}`;
  const problem =
    facts.firstProblem === undefined
      ? undefined
      : `first problem, line ${facts.firstProblem.line}: \`${facts.firstProblem.text.replaceAll("`", "'")}\``;
  const headings =
    facts.headings.length === 0
      ? undefined
      : `headings: ${facts.headings.slice(0, 12).join(" / ")}`;
  const definitions =
    facts.definitions.length === 0 ? undefined : `defines: ${facts.definitions.join(", ")}`;
  const todos = facts.todos.map((note) => `open point, line ${note.line}: ${note.text}`);
  return [
    `${counted(facts.lines, "line")}, ${counted(facts.words, "word")}`,
    span,
    levels,
    problem,
    headings,
    definitions,
    ...todos,
  ].filter((item) => item !== undefined);
}

/** What the sample of a delimited file says, as list items. */
export function sampleFindings(read: FileRead): string[] {
  const sample = sampleOf(read.content, read.path);
  if (sample === undefined) return [...jsonFindings(read), ...textFindings(textFactsOf(read))];
  const columns = sample.columns.map((column) => {
    const range =
      column.min === undefined
        ? ""
        : `, ${figure(column.min)} to ${figure(column.max)}, sum ${figure(column.sum)}`;
    return `${column.name}: ${column.type}, ${counted(column.distinct, "distinct value")}, ${counted(column.blanks, "blank")}${range}`;
  });
  const ragged =
    sample.raggedRows.length === 0
      ? []
      : [
          `${counted(sample.raggedRows.length, "line")} with another number of fields than the header: ${sample.raggedRows.slice(0, 8).join(", ")}`,
        ];
  return [
    `${counted(sample.rows.length, "row")} read, ${counted(sample.header.length, "column")}`,
    ...columns.slice(0, MAX_COLUMNS),
    ...ragged,
  ];
}

/** A section for a file that was read as text, and how much of it was. */
export function readSection(read: FileRead): string {
  const part = read.complete
    ? ""
    : `\n\nOnly the first ${counted(read.linesRead, "line")} of ${read.totalLines ?? "more"} were read.`;
  return `## ${read.path}\n\n${bullets(sampleFindings(read), "The file is empty.")}${part}`;
}

/** The section that admits what went wrong; empty when all went well. */
export function failureSections(conversation: Conversation): string[] {
  const failed = failures(conversation);
  return failed.length === 0 ? [] : [`## What I could not do\n\n${bullets(failed, "")}`];
}

/** The line under every file that says who wrote it. */
export function signature(name: string): string {
  return `_Written by ${name}, played by the simulated model. Every figure comes from tool results._`;
}

/** The points of a prompt, for answers that have nothing but the prompt. */
export function promptPoints(prompt: string): string[] {
  return prompt
    .split(/(?<=[.!?])\s+|\n+/)
    .map((part) => part.replace(/^[-*\d.)\s]+/, "").trim())
    .filter((part) => part !== "")
    .slice(0, 12);
}

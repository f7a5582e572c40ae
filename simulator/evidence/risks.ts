import { sampleOf } from "./delimited.ts";
import type { FileRead } from "./file-reads.ts";
import { counted } from "./markdown.ts";
import { textFactsOf } from "./text-facts.ts";

/** What in a file that was read could go wrong for those who rely on it, one sentence each. */
export function risksOf(read: FileRead): string[] {
  const sample = sampleOf(read.content, read.path);
  const facts = textFactsOf(read);
  const blank = (sample?.columns ?? []).filter((column) => column.blanks > 0);
  const negative = (sample?.columns ?? []).filter(
    (column) => column.min !== undefined && column.min < 0,
  );
  return [
    ...blank.map(
      (column) =>
        `${read.path}: ${column.name} is blank in ${counted(column.blanks, "row")} of the head; whoever reads it must decide what blank means`,
    ),
    ...negative.map(
      (column) =>
        `${read.path}: ${column.name} goes down to ${column.min}; allowed or an error, the schema should say`,
    ),
    ...((sample?.raggedRows.length ?? 0) > 0
      ? [`${read.path}: lines with another number of fields than the header`]
      : []),
    ...(facts.todos.length > 0
      ? [
          `${read.path}: ${counted(facts.todos.length, "open point")} (TODO, FIXME) left in the text`,
        ]
      : []),
    ...(facts.firstProblem === undefined
      ? []
      : [`${read.path}: a problem is on record at line ${facts.firstProblem.line}`]),
    ...(read.complete
      ? []
      : [
          `${read.path}: only ${read.linesRead} of ${read.totalLines ?? "more"} lines were looked at; conclusions hold for those`,
        ]),
  ];
}

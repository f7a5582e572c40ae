import { z } from "zod";
import type { Conversation } from "../personas/conversation.ts";
import { resultsOf } from "./tool-results.ts";

const read = z.looseObject({
  path: z.string(),
  content: z.string(),
  total_lines: z.number().nullish(),
  truncated: z.boolean().optional(),
});

/** What was read of one file, its pages joined. */
export type FileRead = {
  path: string;
  content: string;
  linesRead: number;
  totalLines: number | undefined;
  complete: boolean;
};

/** Counts lines as people do: a closing newline does not open another one. */
function countLines(content: string): number {
  if (content === "") return 0;
  const breaks = content.split("\n").length;
  return content.endsWith("\n") ? breaks - 1 : breaks;
}

/** Every file that was read, in the order of the first read. */
export function fileReads(conversation: Conversation): FileRead[] {
  const files = new Map<string, FileRead>();
  for (const { input, value } of resultsOf(conversation, "read_file", read)) {
    const path = typeof input["path"] === "string" ? input["path"] : value.path;
    const before = files.get(path);
    const joint = before === undefined || before.content.endsWith("\n") ? "" : "\n";
    const content =
      before === undefined ? value.content : `${before.content}${joint}${value.content}`;
    const linesRead = countLines(content);
    const totalLines = value.total_lines ?? before?.totalLines;
    files.set(path, {
      path,
      content,
      linesRead,
      totalLines,
      complete: value.truncated !== true && (totalLines === undefined || linesRead >= totalLines),
    });
  }
  return [...files.values()];
}

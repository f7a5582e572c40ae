import type { Conversation } from "./conversation.ts";
import type { FileRead } from "../evidence/file-reads.ts";
import { fileReads } from "../evidence/file-reads.ts";
import type { InputFile } from "../evidence/input-files.ts";
import { tried } from "../evidence/tool-results.ts";
import type { Stage } from "./persona.ts";

/** Reads of input files only: what an agent wrote itself is no evidence. */
export function inputReads(conversation: Conversation): FileRead[] {
  return fileReads(conversation).filter((read) => read.path.startsWith("input/"));
}

/**
 * What was read is sent again with every later request, and money is held for each of its bytes: a script
 * that read on for ever would use up a task's budget on its own.
 */
const MAX_READ_CHARACTERS = 80_000;

function hasReadEnough(conversation: Conversation): boolean {
  const characters = inputReads(conversation).reduce((sum, read) => sum + read.content.length, 0);
  return characters > MAX_READ_CHARACTERS;
}

/** A stage that uses one tool on files, some at a time, each file once. */
export function eachFileStage(input: {
  tool: string;
  say: (files: readonly InputFile[]) => string;
  files: (conversation: Conversation) => readonly InputFile[];
  perAnswer: (files: number) => number;
  arguments?: Record<string, unknown>;
}): Stage {
  return (conversation) => {
    if (input.tool === "read_file" && hasReadEnough(conversation)) return undefined;
    const files = input.files(conversation);
    const open = files
      .filter((file) => !tried(conversation, input.tool, file.path))
      .slice(0, input.perAnswer(files.length));
    if (open.length === 0) return undefined;
    return {
      text: input.say(open),
      calls: open.map((file) => ({
        name: input.tool,
        input: { path: file.path, ...input.arguments },
      })),
    };
  };
}

/** Reads on in files that are longer than one page, up to `maxPages` pages each. */
export function nextPageStage(input: { say: string; maxPages: number; pageLines: number }): Stage {
  return (conversation) => {
    if (hasReadEnough(conversation)) return undefined;
    const pages = (path: string): number =>
      conversation.outcomes.filter(
        (outcome) =>
          outcome.name === "read_file" && outcome.input["path"] === path && !outcome.isError,
      ).length;
    const open = inputReads(conversation).filter(
      (read) => !read.complete && read.linesRead > 0 && pages(read.path) < input.maxPages,
    );
    if (open.length === 0) return undefined;
    const calls = open.map((read) => ({
      name: "read_file",
      input: { path: read.path, offset: read.linesRead + 1, limit: input.pageLines },
    }));
    return { text: input.say, calls };
  };
}

/** The names of files as a sentence part: `a.csv, b.csv and c.csv`. */
export function namesOf(files: readonly { path: string }[]): string {
  const names = files.map((file) => file.path.replace(/^input\//, ""));
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

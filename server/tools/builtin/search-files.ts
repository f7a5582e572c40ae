import { z } from "zod";
import type { DataEngine } from "../data/engine.ts";
import { fitItems, shorten } from "../result-text.ts";
import type { RunFolder } from "../run-folder.ts";
import { defineTool, type SealedTool, type ToolContext } from "../tools.ts";
import { createLiteralMatcher, createRegexMatcher, type LineMatcher } from "./line-matcher.ts";
import { openIfText } from "./open-text.ts";
import { readLineBatches, type TextLine } from "./text-lines.ts";

const maxMatches = 100;
const maxShownLength = 300;
const pieceLength = 256 * 1024;
/** A match across two pieces of a very long line is found when it is not longer than this. */
const overlapLength = 2048;

type Match = { path: string; line: number; text: string };
type Found = { matches: Match[]; truncated: boolean };

/** The part of a long line around the match. */
function excerpt(text: string, matched: string): string {
  if (text.length <= maxShownLength) return text;
  const at = Math.max(0, text.toLowerCase().indexOf(matched.toLowerCase()));
  const start = Math.max(0, at - 100);
  const shown = shorten(
    text.slice(start, start + maxShownLength + 1).toWellFormed(),
    maxShownLength,
  );
  return start === 0 ? shown : `…${shown}`;
}

async function searchFile(search: {
  path: string;
  matcher: LineMatcher;
  ctx: ToolContext;
  found: Found;
}): Promise<void> {
  const { path, matcher, ctx, found } = search;
  const file = await openIfText(ctx.folder, path);
  if (file === undefined) return;
  await using handle = file.handle;
  const reading = {
    handle,
    encoding: file.encoding,
    signal: ctx.signal,
    pieceLength,
    overlapLength,
  };
  let lastLine = 0;
  for await (const batch of readLineBatches(reading)) {
    for (const { index, matched } of await matcher(batch.map((line) => line.text))) {
      const line: TextLine | undefined = batch[index];
      // Two pieces of one long line are one line.
      if (line === undefined || line.number === lastLine) continue;
      if (found.matches.length === maxMatches) {
        found.truncated = true;
        return;
      }
      lastLine = line.number;
      found.matches.push({ path, line: line.number, text: excerpt(line.text, matched) });
    }
  }
}

async function filesBelow(folder: RunFolder, path: string | undefined, signal: AbortSignal) {
  if (path !== undefined && path !== "." && (await folder.stat(path)).type === "file")
    return [path];
  const { entries } = await folder.list({ path, signal });
  return entries.filter((entry) => entry.type === "file").map((entry) => entry.path);
}

async function searchAll(
  paths: readonly string[],
  matcher: LineMatcher,
  ctx: ToolContext,
): Promise<Found> {
  const found: Found = { matches: [], truncated: false };
  for (const path of paths) {
    if (found.truncated) break;
    await searchFile({ path, matcher, ctx, found });
  }
  return found;
}

/** Search needs the data engine for its regular expressions. */
export function createSearchFiles({ engine }: { engine: DataEngine }): SealedTool {
  return defineTool({
    name: "search_files",
    description:
      "Finds lines that contain a text, in one file or in all text files below a folder. Case is ignored. " +
      `Returns {"matches":[{"path","line","text"}],"truncated"}; at most ${maxMatches} matches. Binary files are passed over. ` +
      'With "regex": true the query is a regular expression of RE2 (no look-around, no back-references; "(?-i)" at the start minds case).',
    input: z.strictObject({
      query: z.string().min(1).max(1000).describe("The text to find, within one line."),
      path: z.string().optional().describe("A file or a folder. Left out: everything."),
      regex: z.boolean().optional().describe("True: the query is a regular expression."),
    }),
    effect: "read",
    permission: "files:read",
    costRule: "free",
    async run({ query, path, regex = false }, ctx) {
      const paths = await filesBelow(ctx.folder, path, ctx.signal);
      const found = regex
        ? await engine.use({
            signal: ctx.signal,
            work: async (session) =>
              searchAll(paths, await createRegexMatcher(session, query), ctx),
          })
        : await searchAll(paths, createLiteralMatcher(query), ctx);
      const matches = fitItems(found.matches);
      const truncated = found.truncated || matches.length < found.matches.length;
      const files = `${paths.length} ${paths.length === 1 ? "file" : "files"}`;
      const count = `${matches.length}${truncated ? " or more" : ""}`;
      return {
        isError: false,
        content: JSON.stringify({ matches, truncated }),
        summary: `Searched ${files} for ${JSON.stringify(shorten(query, 60))} (${count} ${count === "1" ? "match" : "matches"})`,
      };
    },
  });
}

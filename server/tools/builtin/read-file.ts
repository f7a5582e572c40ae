import { z } from "zod";
import { byteLength, cutToBytes, maxResultBytes } from "../result-text.ts";
import { defineTool } from "../tools.ts";
import { openText } from "./open-text.ts";
import { readLineBatches, type TextLine } from "./text-lines.ts";

const defaultLines = 200;
const maxLines = 2000;
/** Leaves room for the path and the other fields of the result. */
const contentBytes = maxResultBytes - 8 * 1024;

function jsonBytes(text: string): number {
  return byteLength(JSON.stringify(text));
}

/** Collects a range of lines until it is full; what follows is only counted. */
function createExcerpt(range: { first: number; count: number }) {
  const lines: string[] = [];
  let usedBytes = 0;
  let full = false;
  let totalLines = 0;
  let truncated = false;

  function takeFirstPiece(line: TextLine): void {
    const bytes = jsonBytes(line.text);
    if (usedBytes + bytes <= contentBytes) {
      lines.push(line.text);
      usedBytes += bytes;
      return;
    }
    full = true;
    truncated = true;
    // A single line that is too long is shown in part: otherwise it could never be seen at all.
    if (lines.length > 0) return;
    lines.push(`${cutToBytes(line.text, contentBytes / 6)} [line cut here]`);
  }

  return {
    add(line: TextLine): void {
      totalLines = line.number;
      if (line.number < range.first) return;
      if (full || line.number >= range.first + range.count) {
        truncated = true;
        return;
      }
      if (line.piece === 0) takeFirstPiece(line);
      else truncated = true;
    },
    finish: () => ({ content: lines.join("\n"), shown: lines.length, totalLines, truncated }),
  };
}

export const readFile = defineTool({
  name: "read_file",
  description:
    'Reads lines of a text file. Returns {"path","content","total_lines","truncated"}; "truncated" is true when lines ' +
    `after the shown ones exist: read on with "offset". At most ${maxLines} lines and about 56 KB at a time. ` +
    "Binary files are refused; for tables of data profile_data gives figures over the whole file.",
  input: z.strictObject({
    path: z.string().describe('For example "input/notes.md".'),
    offset: z.int().min(1).optional().describe("The first line to read; lines count from 1."),
    limit: z
      .int()
      .min(1)
      .max(maxLines)
      .optional()
      .describe(`How many lines; ${defaultLines} when left out.`),
  }),
  effect: "read",
  permission: "files:read",
  costRule: "free",
  async run({ path, offset = 1, limit = defaultLines }, { folder, signal }) {
    const file = await openText(folder, path);
    await using handle = file.handle;
    const excerpt = createExcerpt({ first: offset, count: limit });
    const reading = {
      handle,
      encoding: file.encoding,
      signal,
      pieceLength: contentBytes,
      overlapLength: 0,
    };
    for await (const batch of readLineBatches(reading)) for (const line of batch) excerpt.add(line);
    const { content, shown, totalLines, truncated } = excerpt.finish();
    const part = shown < totalLines ? `${shown} of ${totalLines} lines` : `${totalLines} lines`;
    return {
      isError: false,
      content: JSON.stringify({ path, content, total_lines: totalLines, truncated }),
      summary: `Read ${path} (${part})`,
    };
  },
});

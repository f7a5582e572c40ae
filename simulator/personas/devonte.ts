import type { Conversation } from "./conversation.ts";
import { reportPath, writeStage, writtenFiles } from "../evidence/asked-file.ts";
import type { Sample } from "../evidence/delimited.ts";
import { sampleOf } from "../evidence/delimited.ts";
import {
  askStage,
  errandSections,
  inboxStage,
  listStage,
  messageStage,
} from "../evidence/errands.ts";
import type { FileRead } from "../evidence/file-reads.ts";
import type { InputFile } from "../evidence/input-files.ts";
import { inputFiles } from "../evidence/input-files.ts";
import { bullets, counted, figure, fitSections } from "../evidence/markdown.ts";
import { failureSections, promptPoints, sampleFindings, signature } from "../evidence/sections.ts";
import { textFactsOf } from "../evidence/text-facts.ts";
import { failures, lastError } from "../evidence/tool-results.ts";
import type { Persona } from "./persona.ts";
import { eachFileStage, inputReads } from "./reading.ts";

const PAGE_PATH = "prototype.html";
const SCRIPT_PATH = "prototype.mjs";
const PREVIEW_ROWS = 20;

/** One file is enough for a prototype; when it cannot be read, the next one has to do. */
function pick(conversation: Conversation): InputFile[] {
  const order = ["data", "log", "code", "prose"] as const;
  const readable = inputFiles(conversation).filter(
    (file) => file.kind !== "other" && !file.path.endsWith(".parquet"),
  );
  const sorted = order.flatMap((kind) => readable.filter((file) => file.kind === kind));
  const usable = sorted.find(
    (file) => lastError(conversation, "read_file", file.path) === undefined,
  );
  return usable === undefined ? [] : [usable];
}

function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

function barsOf(sample: Sample): string {
  const numeric = sample.columns.filter((column) => column.type === "number");
  const largest = Math.max(1, ...numeric.map((column) => Math.abs(column.sum)));
  return numeric
    .map(
      (column) =>
        `<div><span>${escapeHtml(column.name)}</span><i style="width:${Math.round((Math.abs(column.sum) / largest) * 300)}px"></i> ${figure(column.sum)}</div>`,
    )
    .join("\n");
}

function pageOf(read: FileRead, sample: Sample): string {
  const cells = (values: readonly string[], tag: string): string =>
    `<tr>${values.map((value) => `<${tag}>${escapeHtml(value)}</${tag}>`).join("")}</tr>`;
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>${escapeHtml(read.path)}</title>
<style>body{font:14px system-ui;margin:2rem}td,th{border:1px solid #ccc;padding:4px 8px;text-align:left}i{display:inline-block;height:10px;background:#47a}span{display:inline-block;width:10rem}</style></head>
<body>
<h1>${escapeHtml(read.path)}</h1>
<p>${counted(sample.rows.length, "row")} read. Prototype by DeVonte (simulated model).</p>
<h2>Sums</h2>
${barsOf(sample)}
<h2>First rows</h2>
<table>
${[cells(sample.header, "th"), ...sample.rows.slice(0, PREVIEW_ROWS).map((row) => cells(row, "td"))].join("\n")}
</table>
</body>
</html>
`;
}

function scriptOf(read: FileRead): string {
  const levels = textFactsOf(read).logLevels.map((entry) => entry.level);
  const words = levels.length > 0 ? levels : ["TODO", "FIXME"];
  return `// Prototype by DeVonte (simulated model): counts lines and key words of a text file.
// Run: node ${SCRIPT_PATH} ${read.path}
import { readFileSync } from 'node:fs'

const path = process.argv[2] ?? ${JSON.stringify(read.path)}
const lines = readFileSync(path, 'utf8').split('\\n')
const counts = Object.fromEntries(${JSON.stringify(words)}.map((word) => [word, lines.filter((line) => line.includes(word)).length]))
console.log({ path, lines: lines.length, counts })
`;
}

function prototype(conversation: Conversation): { path: string; content: string } | undefined {
  const [read] = inputReads(conversation);
  if (read === undefined) return undefined;
  const sample = sampleOf(read.content, read.path);
  if (sample === undefined) return { path: SCRIPT_PATH, content: scriptOf(read) };
  const page = pageOf(read, sample);
  return Buffer.byteLength(page) <= conversation.fileBytes
    ? { path: PAGE_PATH, content: page }
    : { path: SCRIPT_PATH, content: scriptOf(read) };
}

function report(conversation: Conversation): string {
  const reads = inputReads(conversation);
  const built = writtenFiles(conversation).find((path) => path.includes("prototype"));
  const rest = inputFiles(conversation).length - reads.length;
  const sections =
    reads.length === 0
      ? [
          `## What I got\n\n${bullets(promptPoints(conversation.prompt), "The prompt is empty.")}`,
          "## First cut\n\nNo files to play with, so here is the smallest thing that could work: one screen, one button, real data as soon as there is some.",
        ]
      : [
          `## Quick look\n\n${reads.map((read) => `### ${read.path}\n\n${bullets(sampleFindings(read), "Empty.")}`).join("\n\n")}`,
          `## Prototype\n\n${built === undefined ? "None yet." : `\`${built}\` works on this file today. Open it, poke it, tell me what hurts.`}`,
          `## Next\n\n- ${counted(Math.max(rest, 0), "other file")} I did not open yet\n- a second pair of eyes before anyone relies on this`,
        ];
  return fitSections(
    [
      "# First cut",
      ...sections,
      ...failureSections(conversation),
      ...errandSections(conversation),
      signature("DeVonte"),
    ],
    conversation.fileBytes,
  );
}

function finish(conversation: Conversation): string {
  const written = writtenFiles(conversation);
  if (written.length === 0) return report(conversation);
  const [read] = inputReads(conversation);
  const failed = failures(conversation);
  const asked = conversation.outcomes.some(
    (outcome) => outcome.name === "send_message" && !outcome.isError,
  );
  return [
    `Shipped a first cut: ${written.join(" + ")}.${asked ? " Review is requested." : " Somebody please review it."}`,
    ...(read === undefined
      ? []
      : [`From ${read.path}: ${sampleFindings(read).slice(0, 4).join("; ")}.`]),
    ...(failed.length === 0 ? [] : [`Bumps on the way:\n${bullets(failed, "")}`]),
  ].join("\n\n");
}

/** Full-stack developer: reads one file, builds something that runs on it, and asks for a review. */
export const devonte: Persona = {
  name: "DeVonte",
  stages: [
    inboxStage("Quick peek at the inbox."),
    askStage("Quick question, then I build."),
    listStage("On it! What have we got?"),
    eachFileStage({
      tool: "read_file",
      files: pick,
      perAnswer: () => 1,
      arguments: { limit: 200 },
      say: ([file]) => `${file?.path ?? "This one"} is enough to start with.`,
    }),
    writeStage("Got the shape of it. Building a prototype.", (conversation) =>
      writtenFiles(conversation).some((path) => path.includes("prototype"))
        ? undefined
        : prototype(conversation),
    ),
    writeStage("It runs. Short write-up.", (conversation) => {
      const path = reportPath(conversation);
      return path === undefined ? undefined : { path, content: report(conversation) };
    }),
    messageStage({
      self: "devonte",
      reviewer: "sable",
      say: "Asking for a review before anybody builds on it.",
      body: (conversation) =>
        `First cut is up: ${writtenFiles(conversation).join(", ") || "no file, answer only"}. What did I miss?`,
    }),
  ],
  finish,
};

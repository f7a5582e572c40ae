import { z } from "zod";
import type { Conversation } from "./conversation.ts";
import { reportPath, writeStage, writtenFiles } from "../evidence/asked-file.ts";
import {
  askStage,
  errandSections,
  inboxStage,
  listStage,
  messageStage,
} from "../evidence/errands.ts";
import { inputFiles, sizeText } from "../evidence/input-files.ts";
import { bullets, counted, fitSections, table } from "../evidence/markdown.ts";
import { failureSections, promptPoints, sampleFindings, signature } from "../evidence/sections.ts";
import { failures, resultsOf } from "../evidence/tool-results.ts";
import type { Persona } from "./persona.ts";
import { eachFileStage, inputReads, namesOf } from "./reading.ts";

const MAX_READS = 6;
const BIG_FILE_BYTES = 10 * 1_048_576;
/** Plain words, no patterns: a search must work where only literal text is understood. */
const SUSPECT_WORDS = ["ERROR", "WARN", "timeout", "null", "NaN", "TODO"];

const search = z.looseObject({
  matches: z.array(z.looseObject({ path: z.string(), line: z.number(), text: z.string() })),
  truncated: z.boolean().optional(),
});

type Hits = {
  word: string;
  matches: { path: string; line: number; text: string }[];
  truncated: boolean;
};

function hits(conversation: Conversation): Hits[] {
  return resultsOf(conversation, "search_files", search).map(({ input, value }) => ({
    word: String(input["query"]),
    matches: value.matches,
    truncated: value.truncated === true,
  }));
}

function hitRows(conversation: Conversation): string[][] {
  return hits(conversation).flatMap(({ word, matches, truncated }) => {
    const paths = [...new Set(matches.map((match) => match.path))];
    return paths.map((path) => {
      const inFile = matches.filter((match) => match.path === path);
      return [
        path,
        word,
        `${inFile.length}${truncated ? "+" : ""}`,
        `line ${inFile[0]?.line ?? 0}: ${(inFile[0]?.text ?? "").trim().slice(0, 80)}`,
      ];
    });
  });
}

function checklist(conversation: Conversation): string[] {
  const found = hits(conversation).filter((entry) => entry.matches.length > 0);
  const big = inputFiles(conversation).filter((file) => (file.sizeBytes ?? 0) > BIG_FILE_BYTES);
  const empty = inputFiles(conversation).filter((file) => file.sizeBytes === 0);
  return [
    ...found.map(
      ({ word, matches, truncated }) =>
        `look into ${truncated ? "at least " : ""}${counted(matches.length, "line")} with "${word}", starting at ${matches[0]?.path}:${matches[0]?.line}`,
    ),
    ...empty.map((file) => `find out why ${file.path} is empty; silence is also a log level`),
    ...big.map((file) => `rotate or split ${file.path} (${sizeText(file.sizeBytes)})`),
    "put this search on a timer, so that nobody has to remember it",
    "agree who gets woken up, and write it down before it is needed",
  ];
}

function report(conversation: Conversation): string {
  const inputs = inputFiles(conversation);
  const tasks = inputs.length === 0 ? promptPoints(conversation.prompt) : checklist(conversation);
  const rows = hitRows(conversation);
  const sections =
    inputs.length === 0
      ? [
          "No files were attached, which is at least a very quiet incident. The checklist comes from the request itself.",
        ]
      : [
          `## Inventory\n\n${table(
            ["file", "kind", "size"],
            inputs.slice(0, 60).map((file) => [file.path, file.kind, sizeText(file.sizeBytes)]),
          )}`,
          `## Signals\n\n${rows.length === 0 ? "No suspect word anywhere. Suspicious in itself, but we take it." : table(["file", "word", "lines", "first"], rows)}`,
          `## Spot checks\n\n${
            inputReads(conversation)
              .map((read) => `### ${read.path}\n\n${bullets(sampleFindings(read), "Empty.")}`)
              .join("\n\n") || "None."
          }`,
        ];
  return fitSections(
    [
      "# Runbook",
      `## Checklist\n\n${tasks.map((task) => `- [ ] ${task}`).join("\n")}`,
      ...failureSections(conversation),
      ...errandSections(conversation),
      ...sections,
      signature("Yuki"),
    ],
    conversation.fileBytes,
  );
}

function finish(conversation: Conversation): string {
  const written = writtenFiles(conversation);
  if (written.length === 0) return report(conversation);
  if (inputFiles(conversation).length === 0)
    return `No files to look at, so the checklist comes from the request itself: ${written.join(", ")}. May it never be needed.`;
  const total = hits(conversation).reduce((sum, entry) => sum + entry.matches.length, 0);
  const bytes = inputFiles(conversation).reduce((sum, file) => sum + (file.sizeBytes ?? 0), 0);
  const failed = failures(conversation);
  return [
    `${counted(inputFiles(conversation).length, "file")}, ${sizeText(bytes)}, ${counted(total, "suspect line")}. The runbook is in ${written.join(", ")}. If something is on fire, it is on the list.`,
    bullets(checklist(conversation).slice(0, 4), ""),
    ...(failed.length === 0 ? [] : [`Things that failed, as things do:\n${bullets(failed, "")}`]),
  ].join("\n\n");
}

/** Site reliability engineer: sizes, searches for trouble, spot checks, and a checklist at the end. */
export const yuki: Persona = {
  name: "Yuki",
  stages: [
    inboxStage("Pager is quiet. Mail, then."),
    askStage("A question now is cheaper than a postmortem later."),
    listStage("Calmly: what do we have, and how big is it?"),
    (conversation) => {
      if (inputFiles(conversation).length === 0) return undefined;
      return {
        text: "Grepping for regret: errors, warnings, nulls, unfinished business.",
        calls: SUSPECT_WORDS.map((query) => ({
          name: "search_files",
          input: { query, path: "input" },
        })),
      };
    },
    eachFileStage({
      tool: "read_file",
      files: (conversation) =>
        inputFiles(conversation)
          .filter((file) => file.kind !== "other" && !file.path.endsWith(".parquet"))
          .slice(0, MAX_READS),
      perAnswer: (files) => files,
      arguments: { limit: 120 },
      say: (files) => `Spot checks on ${namesOf(files)}. Trust, but tail.`,
    }),
    writeStage("Writing the runbook, so that next time it is boring.", (conversation) => {
      const path = reportPath(conversation);
      return path === undefined ? undefined : { path, content: report(conversation) };
    }),
    messageStage({
      self: "yuki",
      reviewer: undefined,
      say: "Handing over.",
      body: (conversation) => bullets(checklist(conversation).slice(0, 6), ""),
    }),
  ],
  finish,
};

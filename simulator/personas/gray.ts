import type { Conversation } from "./conversation.ts";
import { reportPath, writeStage, writtenFiles } from "../evidence/asked-file.ts";
import { dataProfiles, suspicions } from "../evidence/data-profiles.ts";
import {
  askStage,
  errandSections,
  inboxStage,
  listStage,
  messageStage,
} from "../evidence/errands.ts";
import type { InputFile } from "../evidence/input-files.ts";
import { inputFiles, listingTruncated } from "../evidence/input-files.ts";
import { bullets, counted, fitSections, table } from "../evidence/markdown.ts";
import {
  failureSections,
  profileSection,
  promptPoints,
  readSection,
  sampleFindings,
  signature,
} from "../evidence/sections.ts";
import { failures, lastError, tried } from "../evidence/tool-results.ts";
import type { Persona } from "./persona.ts";
import { eachFileStage, inputReads, namesOf, nextPageStage } from "./reading.ts";

const MAX_FILES = 24;
const PAGE_LINES = 300;

function dataFiles(conversation: Conversation): InputFile[] {
  return inputFiles(conversation)
    .filter((file) => file.kind === "data")
    .slice(0, MAX_FILES);
}

/** Text, and data that could not be profiled: read by eye instead. */
function filesToRead(conversation: Conversation): InputFile[] {
  const canProfile = conversation.offered.has("profile_data");
  return inputFiles(conversation)
    .filter((file) => {
      if (file.kind !== "data") return file.kind !== "other";
      const refused = lastError(conversation, "profile_data", file.path) !== undefined;
      return !file.path.endsWith(".parquet") && (refused || !canProfile);
    })
    .slice(0, MAX_FILES);
}

function overview(conversation: Conversation): string {
  const profiles = dataProfiles(conversation);
  const rows = [
    ...profiles.map((data) => [
      data.path,
      `${data.row_count}`,
      `${data.column_count}`,
      `${suspicions(data).length}`,
    ]),
    ...inputReads(conversation).map((read) => [read.path, `${read.linesRead} lines`, "", ""]),
  ];
  const rowTotal = profiles.reduce((sum, data) => sum + data.row_count, 0);
  return `## Overview\n\n${table(["file", "rows", "columns", "findings"], rows)}\n\n${counted(rowTotal, "row")} in ${counted(profiles.length, "data file")}, ${counted(inputReads(conversation).length, "file")} read as text.`;
}

function report(conversation: Conversation): string {
  const inputs = inputFiles(conversation);
  const skipped =
    inputs.length - dataProfiles(conversation).length - inputReads(conversation).length;
  const sections =
    inputs.length === 0
      ? [
          `## The question\n\n${bullets(promptPoints(conversation.prompt), "The prompt is empty.")}`,
          "## What I would need\n\nThere are no input files, so there is nothing to measure. Give me the data and I will check its rows, gaps, duplicates and extremes before I say anything about it.",
        ]
      : [
          overview(conversation),
          ...dataProfiles(conversation).map((data) => profileSection(data)),
          ...inputReads(conversation).map((read) => readSection(read)),
        ];
  const gaps =
    skipped > 0 || listingTruncated(conversation)
      ? [
          `${counted(Math.max(skipped, 0), "file")} not examined${listingTruncated(conversation) ? "; the listing itself was cut" : ""}.`,
        ]
      : [];
  return fitSections(
    [
      "# Data report",
      ...failureSections(conversation),
      ...errandSections(conversation),
      ...sections,
      ...gaps,
      signature("Gray"),
    ],
    conversation.fileBytes,
  );
}

function figures(conversation: Conversation): string[] {
  const profiled = dataProfiles(conversation).map((data) => {
    const found = suspicions(data);
    return `${data.path}: ${counted(data.row_count, "row")}, ${counted(data.column_count, "column")}, ${found.length === 0 ? "clean" : found.slice(0, 3).join("; ")}`;
  });
  const read = inputReads(conversation).map((entry) => {
    const part = entry.complete ? "" : `; only the first ${counted(entry.linesRead, "line")} read`;
    return `${entry.path}: ${sampleFindings(entry).slice(0, 3).join("; ")}${part}`;
  });
  return [...profiled, ...read];
}

function finish(conversation: Conversation): string {
  const written = writtenFiles(conversation);
  const failed = failures(conversation);
  const where = written.length === 0 ? "" : ` The full tables are in ${written.join(" and ")}.`;
  const trouble =
    failed.length === 0
      ? ""
      : `\n\nNot everything worked, and you should know it:\n${bullets(failed, "")}`;
  const list = figures(conversation);
  if (list.length === 0) return `${report(conversation)}${where}${trouble}`;
  const shown =
    written.length === 0 && conversation.offered.size > 0 ? `\n\n${report(conversation)}` : "";
  return `I took my time; every figure below was counted, none estimated.${where}\n\n${bullets(list, "")}${trouble}${shown}`;
}

/** Data engineer: profiles every data file, weighs its integrity, writes tables, and reads the report back. */
export const gray: Persona = {
  name: "Gray",
  stages: [
    inboxStage("Let me see first whether somebody left word for me."),
    askStage("One question before I touch the data."),
    listStage("No hurry. First I want to see what we were given."),
    eachFileStage({
      tool: "profile_data",
      files: dataFiles,
      perAnswer: (files) => (files <= 4 ? 1 : Math.ceil(files / 4)),
      say: (files) => `Next ${namesOf(files)}: rows, gaps, duplicates, extremes.`,
    }),
    eachFileStage({
      tool: "read_file",
      files: filesToRead,
      perAnswer: (files) => Math.min(3, Math.ceil(files / 3)),
      arguments: { limit: PAGE_LINES },
      say: (files) => `${namesOf(files)} I read line by line.`,
    }),
    nextPageStage({ say: "There is more of it. I read on.", maxPages: 3, pageLines: PAGE_LINES }),
    writeStage("The figures agree. I write them down.", (conversation) => {
      const path = reportPath(conversation);
      return path === undefined ? undefined : { path, content: report(conversation) };
    }),
    (conversation) => {
      const path = writtenFiles(conversation).at(-1);
      if (path === undefined || tried(conversation, "read_file", path)) return undefined;
      return {
        text: "And I read it back, to be sure that it says what I meant.",
        calls: [{ name: "read_file", input: { path, limit: 20 } }],
      };
    },
    messageStage({
      self: "gray",
      reviewer: undefined,
      say: "I pass it on.",
      body: (conversation) => bullets(figures(conversation), "No figures: there was no input."),
    }),
  ],
  finish,
};

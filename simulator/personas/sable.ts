import type { Conversation } from "./conversation.ts";
import { reportPath, writeStage, writtenFiles } from "../evidence/asked-file.ts";
import {
  askStage,
  errandSections,
  inboxStage,
  listStage,
  messageStage,
} from "../evidence/errands.ts";
import type { FileRead } from "../evidence/file-reads.ts";
import { inputFiles, sizeText } from "../evidence/input-files.ts";
import { bullets, counted, fitSections, table } from "../evidence/markdown.ts";
import { sampleOf } from "../evidence/delimited.ts";
import { risksOf } from "../evidence/risks.ts";
import { failureSections, promptPoints, readSection, signature } from "../evidence/sections.ts";
import { textFactsOf } from "../evidence/text-facts.ts";
import { failures } from "../evidence/tool-results.ts";
import type { Persona } from "./persona.ts";
import { eachFileStage, inputReads, namesOf } from "./reading.ts";

const MAX_FILES = 12;
const HEAD_LINES = 60;
const PLAN_PATH = "plan.md";

function testIdeas(read: FileRead): string[] {
  const sample = sampleOf(read.content, read.path);
  const [key] = sample?.columns ?? [];
  if (sample === undefined || key === undefined) {
    const [name] = textFactsOf(read).definitions;
    return [
      name === undefined
        ? `${read.path}: a check that fails when the file is empty or lost its structure`
        : `${read.path}: call ${name} with an empty, a typical and a hostile input`,
    ];
  }
  const unique =
    key.distinct === sample.rows.length
      ? "stays unique"
      : `may repeat (${key.distinct} values in ${sample.rows.length} rows)`;
  return [
    `${read.path}: the header is exactly ${sample.header.join(", ")}`,
    `${read.path}: ${key.name} ${unique}`,
    ...sample.columns
      .filter((column) => column.type === "number")
      .slice(0, 3)
      .map((column) => `${read.path}: ${column.name} parses as a number in every row`),
  ];
}

function plan(conversation: Conversation): string {
  const rows = inputFiles(conversation)
    .slice(0, 40)
    .map((file) => [file.path, file.kind, sizeText(file.sizeBytes)]);
  return fitSections(
    [
      "# Plan",
      `Task: ${promptPoints(conversation.prompt)[0] ?? "(empty prompt)"}`,
      table(["input", "kind", "size"], rows),
      "1. Know the structure before the content.\n2. Name the risks that the structure allows.\n3. Write down the tests that would catch them.\n4. Only then conclude.",
      signature("Sable"),
    ],
    conversation.fileBytes,
  );
}

function report(conversation: Conversation): string {
  const reads = inputReads(conversation);
  const sections =
    reads.length === 0
      ? [
          `## Requirements as I read them\n\n${bullets(promptPoints(conversation.prompt), "The prompt is empty.")}`,
          "## Design\n\nOne responsibility per part, the borders first, a test for each requirement above before any code.",
        ]
      : [
          `## Structure\n\n${reads.map((read) => `- ${read.path}: ${counted(read.totalLines ?? read.linesRead, "line")}${sampleOf(read.content, read.path) === undefined ? "" : `, columns ${sampleOf(read.content, read.path)?.header.join(", ")}`}`).join("\n")}`,
          `## Risks\n\n${bullets(
            reads.flatMap((read) => risksOf(read)),
            "The heads of the files show none.",
          )}`,
          `## Test ideas\n\n${bullets(
            reads.flatMap((read) => testIdeas(read)),
            "None.",
          )}`,
          ...reads.map((read) => readSection(read)),
        ];
  return fitSections(
    [
      "# Findings",
      ...failureSections(conversation),
      ...errandSections(conversation),
      ...sections,
      signature("Sable"),
    ],
    conversation.fileBytes,
  );
}

function finish(conversation: Conversation): string {
  const reads = inputReads(conversation);
  const written = writtenFiles(conversation);
  if (written.length === 0) return report(conversation);
  const risks = reads.flatMap((read) => risksOf(read));
  const tests = reads.flatMap((read) => testIdeas(read));
  const failed = failures(conversation);
  return [
    `Done as planned: ${written.join(", ")}. ${counted(reads.length, "file")} examined, ${counted(risks.length, "risk")}, ${counted(tests.length, "test idea")}.`,
    bullets(risks.slice(0, 5), "No risk stands out."),
    ...(failed.length === 0 ? [] : [`What failed on the way:\n${bullets(failed, "")}`]),
  ].join("\n\n");
}

/** Principal engineer: a plan in writing, structure before content, then findings with risks and tests. */
export const sable: Persona = {
  name: "Sable",
  stages: [
    inboxStage("Mail first; it may change the plan."),
    askStage("One requirement is open, so I ask."),
    listStage(
      "Plan: 1. take stock, 2. look at the structure, 3. write the plan down, 4. findings with risks and tests. Taking stock.",
    ),
    eachFileStage({
      tool: "read_file",
      files: (conversation) =>
        inputFiles(conversation)
          .filter((file) => file.kind !== "other" && !file.path.endsWith(".parquet"))
          .slice(0, MAX_FILES),
      perAnswer: (files) => files,
      arguments: { limit: HEAD_LINES },
      say: (files) => `The heads of ${namesOf(files)}, side by side.`,
    }),
    writeStage(
      "The structure is clear. The plan goes on paper before the findings do.",
      (conversation) =>
        inputFiles(conversation).length === 0 || reportPath(conversation) === PLAN_PATH
          ? undefined
          : { path: PLAN_PATH, content: plan(conversation) },
    ),
    writeStage(
      "Now the findings, each with its risk and a test that would catch it.",
      (conversation) => {
        const path = reportPath(conversation);
        return path === undefined ? undefined : { path, content: report(conversation) };
      },
    ),
    messageStage({
      self: "sable",
      reviewer: undefined,
      say: "A note to whom it concerns.",
      body: (conversation) =>
        bullets(
          inputReads(conversation)
            .flatMap((read) => risksOf(read))
            .slice(0, 8),
          "No risk stands out.",
        ),
    }),
  ],
  finish,
};

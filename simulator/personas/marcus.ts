import { z } from "zod";
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
import { inputFiles, sizeText } from "../evidence/input-files.ts";
import { bullets, counted, fitSections } from "../evidence/markdown.ts";
import { failureSections, promptPoints, sampleFindings, signature } from "../evidence/sections.ts";
import { risksOf } from "../evidence/risks.ts";
import { failures, lastError, resultsOf } from "../evidence/tool-results.ts";
import type { Persona } from "./persona.ts";
import { eachFileStage, inputReads, namesOf } from "./reading.ts";

const MAX_SAMPLES = 3;
const SAMPLE_LINES = 120;

const delegation = z.looseObject({
  task_id: z.string().optional(),
  state: z.string().optional(),
  result: z.unknown().optional(),
});

type Delegated = { agent: string; state: string; result: string };

function delegated(conversation: Conversation): Delegated | undefined {
  const [done] = resultsOf(conversation, "delegate_task", delegation);
  if (done === undefined) return undefined;
  const { result, state } = done.value;
  const text =
    typeof result === "string"
      ? result
      : result === undefined || result === null
        ? ""
        : JSON.stringify(result);
  return { agent: String(done.input["agent"]), state: state ?? "unknown", result: text };
}

function bestAgent(files: readonly InputFile[]): "gray" | "sable" | "yuki" {
  if (files.some((file) => file.kind === "data")) return "gray";
  return files.some((file) => file.kind === "log") ? "yuki" : "sable";
}

function largest(conversation: Conversation, kind: "data" | undefined): InputFile[] {
  return inputFiles(conversation)
    .filter((file) => (kind === undefined ? file.kind !== "other" : file.kind === kind))
    .toSorted((a, b) => (b.sizeBytes ?? 0) - (a.sizeBytes ?? 0));
}

/** Samples himself only what nobody else examined for him. */
function filesToSample(conversation: Conversation): InputFile[] {
  const someoneElse =
    conversation.offered.has("delegate_task") &&
    lastError(conversation, "delegate_task") === undefined;
  if (someoneElse || delegated(conversation) !== undefined) return [];
  return largest(conversation, undefined)
    .filter((file) => !file.path.endsWith(".parquet"))
    .slice(0, MAX_SAMPLES);
}

/** Does the delegated result agree with a figure that he looked up himself? */
function review(conversation: Conversation): string[] {
  const work = delegated(conversation);
  if (work === undefined) return [];
  const plain = work.result.replaceAll(/(\d),(?=\d{3})/g, "$1");
  const checks = dataProfiles(conversation).map((data) => {
    const told = new RegExp(`\\b${data.row_count}\\b`).test(plain);
    return `${data.path}: ${counted(data.row_count, "row")} by my own check, ${told ? "and the result says the same" : "which the result does not mention"}`;
  });
  const named = inputFiles(conversation).filter((file) =>
    plain.includes(file.path.replace(/^input\//, "")),
  );
  return [
    `${work.agent} ended ${work.state} and covered ${named.length} of ${counted(inputFiles(conversation).length, "file")}`,
    ...checks,
  ];
}

function evidence(conversation: Conversation): string[] {
  const profiles = dataProfiles(conversation).map(
    (data) =>
      `${data.path}: ${counted(data.row_count, "row")}, ${counted(suspicions(data).length, "finding")}`,
  );
  return [
    ...profiles,
    ...inputReads(conversation).map(
      (read) => `${read.path}: ${sampleFindings(read).slice(0, 4).join("; ")}`,
    ),
  ];
}

function decision(conversation: Conversation): string {
  const work = delegated(conversation);
  const findings = [
    ...dataProfiles(conversation).flatMap((data) => suspicions(data)),
    ...inputReads(conversation).flatMap((read) => risksOf(read)),
  ];
  if (inputFiles(conversation).length === 0)
    return "Go, with the points above as the scope. Nothing else enters until they are done.";
  if (work === undefined && evidence(conversation).length === 0)
    return "Stop. Nothing could be read, so nothing is decided on it.";
  if (work !== undefined && work.state !== "succeeded")
    return `Hold. The work that I delegated ended ${work.state}; it is finished before anybody acts on it.`;
  if (findings.length > 0)
    return `Go, on condition: ${counted(findings.length, "finding")} get an owner this week. First: ${findings[0]}.`;
  return "Go. Use it, and tell me when it changes.";
}

function report(conversation: Conversation): string {
  const inputs = inputFiles(conversation);
  const work = delegated(conversation);
  const bytes = inputs.reduce((sum, file) => sum + (file.sizeBytes ?? 0), 0);
  const sections = [
    inputs.length === 0
      ? `## Scope\n\n${bullets(promptPoints(conversation.prompt), "The prompt is empty.")}`
      : `## Situation\n\n${counted(inputs.length, "input file")}, ${sizeText(bytes)}: ${namesOf(inputs.slice(0, 12))}.`,
    `## Decision\n\n${decision(conversation)}`,
    ...(evidence(conversation).length === 0
      ? []
      : [`## What I saw myself\n\n${bullets(evidence(conversation), "")}`]),
    ...(work === undefined
      ? []
      : [
          `## Review of the delegated work\n\n${bullets(review(conversation), "")}`,
          `## Result from ${work.agent}\n\n${work.result === "" ? "Empty." : work.result}`,
        ]),
  ];
  return fitSections(
    [
      "# Executive summary",
      ...sections,
      ...failureSections(conversation),
      ...errandSections(conversation),
      signature("Marcus"),
    ],
    conversation.fileBytes,
  );
}

function finish(conversation: Conversation): string {
  const written = writtenFiles(conversation);
  if (written.length === 0) return report(conversation);
  const failed = failures(conversation);
  const [headline] = review(conversation);
  return [
    `Decision: ${decision(conversation)}`,
    bullets(
      [...(headline === undefined ? [] : [headline]), ...evidence(conversation).slice(0, 4)],
      "It rests on the request alone.",
    ),
    `The summary is in ${written.join(", ")}.`,
    ...(failed.length === 0 ? [] : [`Open: ${failed.join("; ")}`]),
  ].join("\n\n");
}

/** Chief executive: delegates once to whom it suits, reviews what comes back, and decides. */
export const marcus: Persona = {
  name: "Marcus",
  stages: [
    inboxStage("What is on my desk?"),
    askStage("I need one thing from you."),
    listStage("Show me what we are dealing with."),
    (conversation) => {
      const files = inputFiles(conversation);
      const asked = conversation.outcomes.some((outcome) => outcome.name === "delegate_task");
      if (files.length === 0 || asked) return undefined;
      const agent = bestAgent(files);
      const prompt = `Examine ${files
        .slice(0, 12)
        .map((file) => file.path)
        .join(
          ", ",
        )} and write findings.md. In your answer give me the row or line counts per file and everything that looks wrong. Background: ${conversation.prompt}`;
      return {
        text: `This is work for ${agent}. I want figures, not adjectives.`,
        calls: [{ name: "delegate_task", input: { agent, prompt } }],
      };
    },
    eachFileStage({
      tool: "read_file",
      files: filesToSample,
      perAnswer: (files) => files,
      arguments: { limit: SAMPLE_LINES },
      say: (files) => `Nobody to hand it to, so I look at ${namesOf(files)} myself.`,
    }),
    eachFileStage({
      tool: "profile_data",
      files: (conversation) =>
        delegated(conversation) === undefined ? [] : largest(conversation, "data").slice(0, 1),
      perAnswer: () => 1,
      say: (files) => `One figure I check myself: ${namesOf(files)}.`,
    }),
    writeStage("Enough to decide on. I put it on one page.", (conversation) => {
      const path = reportPath(conversation);
      return path === undefined ? undefined : { path, content: report(conversation) };
    }),
    messageStage({
      self: "marcus",
      reviewer: undefined,
      say: "And the team should know.",
      body: (conversation) => `Decision: ${decision(conversation)}`,
    }),
  ],
  finish,
};

import { z } from "zod";
import type { Conversation } from "../personas/conversation.ts";
import { resultsOf } from "./tool-results.ts";

export type FileKind = "data" | "log" | "prose" | "code" | "other";
export type InputFile = { path: string; sizeBytes: number | undefined; kind: FileKind };

const listing = z.looseObject({
  entries: z.array(
    z.looseObject({ path: z.string(), type: z.string(), size_bytes: z.number().optional() }),
  ),
  truncated: z.boolean().optional(),
});

const KIND_BY_EXTENSION: Record<Exclude<FileKind, "other">, RegExp> = {
  data: /\.(csv|tsv|json|ndjson|jsonl|parquet)$/i,
  log: /\.(log|out|err)$/i,
  prose: /\.(md|markdown|txt|rst|adoc)$/i,
  code: /\.(ts|tsx|js|jsx|mjs|cjs|py|go|rs|java|kt|rb|php|c|h|cc|cpp|hpp|cs|swift|scala|sh|sql|html|css|ya?ml|toml)$/i,
};

/** Tells what a file is by its name. */
export function kindOf(path: string): FileKind {
  for (const kind of ["data", "log", "prose", "code"] as const)
    if (KIND_BY_EXTENSION[kind].test(path)) return kind;
  return "other";
}

function mentionedPaths(prompt: string): string[] {
  return [...prompt.matchAll(/\binput\/[^\s,;:"'`()]+/g)].map(([path]) =>
    path.replace(/[.!?]+$/, ""),
  );
}

/**
 * The input files as the tools listed them. Where no listing could be had, those that the prompt names
 * by their path.
 */
export function inputFiles(conversation: Conversation): InputFile[] {
  const sizes = new Map<string, number | undefined>();
  for (const { value } of resultsOf(conversation, "list_files", listing))
    for (const entry of value.entries)
      if (entry.type === "file" && entry.path.startsWith("input/"))
        sizes.set(entry.path, entry.size_bytes);
  if (sizes.size === 0)
    for (const path of mentionedPaths(conversation.prompt)) sizes.set(path, undefined);
  return [...sizes].map(([path, sizeBytes]) => ({ path, sizeBytes, kind: kindOf(path) }));
}

/** True when the listing said that there are more files than it shows. */
export function listingTruncated(conversation: Conversation): boolean {
  return resultsOf(conversation, "list_files", listing).some(
    ({ value }) => value.truncated === true,
  );
}

/** A size for people. */
export function sizeText(sizeBytes: number | undefined): string {
  if (sizeBytes === undefined) return "size unknown";
  if (sizeBytes < 1_024) return `${sizeBytes} bytes`;
  return sizeBytes < 1_048_576
    ? `${(sizeBytes / 1_024).toFixed(1)} KB`
    : `${(sizeBytes / 1_048_576).toFixed(1)} MB`;
}

import { z } from "zod";
import type { Conversation } from "../personas/conversation.ts";
import type { Stage } from "../personas/persona.ts";
import type { InputFile } from "./input-files.ts";
import { inputFiles } from "./input-files.ts";
import { lastError, resultsOf, tried } from "./tool-results.ts";

const NAME = /(?<![\w/.-])((?:[\w-]+\/)*[\w-]+\.(?:md|markdown|txt))\b/gi;
const written = z.looseObject({ path: z.string(), size_bytes: z.number().optional() });

/**
 * The .md or .txt file that the prompt asks for: no input, and rather one that follows a verb of writing
 * than one that is only mentioned.
 */
function askedFile(prompt: string, inputs: readonly InputFile[]): string | undefined {
  const isInput = (name: string): boolean =>
    name.startsWith("input/") || inputs.some((file) => file.path === `input/${name}`);
  const names = [...prompt.matchAll(NAME)].filter(([name]) => !isInput(name));
  const afterVerb = names.filter((match) =>
    /\b(write|save|create|produce|put|into|to|as|in)\b[^.]{0,60}$/i.test(
      prompt.slice(0, match.index),
    ),
  );
  return (afterVerb.at(-1) ?? names.at(-1))?.[1];
}

/** The path of the report: the asked one; `report.md` when there is input but no name; nothing when neither. */
export function reportPath(conversation: Conversation): string | undefined {
  const inputs = inputFiles(conversation);
  return askedFile(conversation.prompt, inputs) ?? (inputs.length > 0 ? "report.md" : undefined);
}

/** Paths that were really written, in order, each once. */
export function writtenFiles(conversation: Conversation): string[] {
  return [
    ...new Set(resultsOf(conversation, "write_file", written).map(({ value }) => value.path)),
  ];
}

function fallbackPath(path: string): string {
  const name = path.split("/").at(-1) ?? path;
  return name === path ? `result-${name}` : name;
}

/**
 * The stage that writes one file: once at its path and, when that is refused, once under a plain name
 * beside it.
 */
export function writeStage(
  say: string,
  file: (conversation: Conversation) => { path: string; content: string } | undefined,
): Stage {
  return (conversation) => {
    const wanted = file(conversation);
    if (wanted === undefined) return undefined;
    if (!tried(conversation, "write_file", wanted.path))
      return { text: say, calls: [{ name: "write_file", input: wanted }] };
    if (lastError(conversation, "write_file", wanted.path) === undefined) return undefined;
    const path = fallbackPath(wanted.path);
    if (tried(conversation, "write_file", path)) return undefined;
    return {
      text: `${wanted.path} could not be written; I try ${path}.`,
      calls: [{ name: "write_file", input: { ...wanted, path } }],
    };
  };
}

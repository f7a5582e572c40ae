import type { z } from "zod";
import type { Conversation, ToolOutcome } from "../personas/conversation.ts";

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The good results of one tool that have the expected shape, with the input that led to them. */
export function resultsOf<T>(
  conversation: Conversation,
  tool: string,
  schema: z.ZodType<T>,
): { input: Record<string, unknown>; value: T }[] {
  return conversation.outcomes.flatMap((outcome) => {
    if (outcome.name !== tool || outcome.isError) return [];
    const parsed = schema.safeParse(parseJson(outcome.text));
    return parsed.success ? [{ input: outcome.input, value: parsed.data }] : [];
  });
}

function firstLine(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.length > 200 ? `${line.slice(0, 200)}...` : line;
}

/** Every tool call that failed, one line each, as a report should admit it. */
export function failures(conversation: Conversation): string[] {
  return conversation.outcomes
    .filter((outcome) => outcome.isError)
    .map((outcome) => `${outcome.name} ${targetOf(outcome)}: ${firstLine(outcome.text)}`);
}

function targetOf(outcome: ToolOutcome): string {
  const target =
    outcome.input["path"] ??
    outcome.input["agent"] ??
    outcome.input["to"] ??
    outcome.input["query"];
  return typeof target === "string" ? target : "(no target)";
}

/** The last error of a tool, if it had one; with `path`, of a call on that path. */
export function lastError(
  conversation: Conversation,
  tool: string,
  path?: string,
): string | undefined {
  return conversation.outcomes.findLast(
    (outcome) =>
      outcome.name === tool &&
      outcome.isError &&
      (path === undefined || outcome.input["path"] === path),
  )?.text;
}

/** True once a tool was called on a path, whatever came of it. */
export function tried(conversation: Conversation, tool: string, path: string): boolean {
  return conversation.outcomes.some(
    (outcome) => outcome.name === tool && outcome.input["path"] === path,
  );
}

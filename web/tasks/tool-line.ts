import type { ToolInput } from "../events/event-parts.ts";
import { t, type MessageKey } from "../messages/translate.ts";

const verbs = new Map([
  ["list_files", "tool.list_files"],
  ["read_file", "tool.read_file"],
  ["search_files", "tool.search_files"],
  ["write_file", "tool.write_file"],
  ["profile_data", "tool.profile_data"],
  ["send_message", "tool.send_message"],
  ["check_inbox", "tool.check_inbox"],
  ["delegate_task", "tool.delegate_task"],
  ["ask_human", "tool.ask_human"],
] as const satisfies readonly (readonly [string, MessageKey])[]);

type Verb = typeof verbs extends Map<string, infer Key> ? Key : never;

/** Where each kind of input says what the call is about, the most telling first. */
const subjects = ["path", "query", "question", "subject", "agent", "to"] as const;

/** What a tool call does, in a few words: "Read input/sales.csv". */
export function toolLine(name: string, input: ToolInput): string {
  const verb = (verbs as ReadonlyMap<string, Verb>).get(name);
  const subject = subjects.map((key) => input[key]).find((value) => typeof value === "string");
  const words = verb === undefined ? name : t(verb);
  return typeof subject === "string" && subject !== "" && subject !== "."
    ? `${words} ${shorten(subject)}`
    : words;
}

function shorten(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > 80 ? `${line.slice(0, 79)}…` : line;
}

import { canonicalJson } from "../hash.ts";
import type { Conversation, ToolOutcome } from "./conversation.ts";
import { plainToolName, readConversation } from "./conversation.ts";
import type { Persona, Step, ToolCall } from "./persona.ts";
import { findPersona } from "./roster.ts";
import type { MessagesRequest } from "../protocol/request-schema.ts";
import { exampleOf } from "../protocol/schema-example.ts";

/** A script that still wants tools after so many answers is brought to its end. */
const MAX_TURNS = 40;

/** What the simulated model answers. The stop reason follows: calls mean `tool_use`, none `end_turn`. */
export type Decision = { thinking: string; text: string; toolCalls: readonly ToolCall[] };

function isRepeat(call: ToolCall, outcomes: readonly ToolOutcome[]): boolean {
  const wanted = canonicalJson(call.input);
  return outcomes.some(
    (outcome) => outcome.name === call.name && canonicalJson(outcome.input) === wanted,
  );
}

/**
 * Walks the stages of a persona. A call is made once only and never without an offer, so each answer
 * makes progress or is the last one, whatever the tools reply.
 */
function nextStep(persona: Persona, conversation: Conversation): Step | undefined {
  if (conversation.turns >= MAX_TURNS) return undefined;
  for (const stage of persona.stages) {
    const step = stage(conversation);
    const calls = (step?.calls ?? []).filter(
      (call) => conversation.offered.has(call.name) && !isRepeat(call, conversation.outcomes),
    );
    if (step !== undefined && calls.length > 0) return { text: step.text, calls };
  }
  return undefined;
}

/** Gives planned calls the names under which the request offers their tools. */
function asOffered(request: MessagesRequest, calls: readonly ToolCall[]): ToolCall[] {
  const names = new Map((request.tools ?? []).map((tool) => [plainToolName(tool.name), tool.name]));
  return calls.map((call) => ({ ...call, name: names.get(call.name) ?? call.name }));
}

function forcedCalls(request: MessagesRequest, planned: readonly ToolCall[]): readonly ToolCall[] {
  const choice = request.tool_choice;
  if (choice?.type !== "any" && choice?.type !== "tool") return planned;
  const fitting =
    choice.type === "any" ? planned : planned.filter((call) => call.name === choice.name);
  if (fitting.length > 0) return fitting;
  const tool =
    choice.type === "any"
      ? request.tools?.[0]
      : request.tools?.find((entry) => entry.name === choice.name);
  if (tool === undefined) return [];
  const input = exampleOf(tool.input_schema ?? {});
  return [
    { name: tool.name, input: input !== null && typeof input === "object" ? { ...input } : {} },
  ];
}

function formattedText(request: MessagesRequest): string | undefined {
  const format = request.output_config?.["format"];
  if (format === null || typeof format !== "object" || !("schema" in format)) return undefined;
  const { schema } = format;
  return schema !== null && typeof schema === "object"
    ? JSON.stringify(exampleOf({ ...schema }))
    : undefined;
}

/** The last calls over again, as a model makes them that is stuck. */
function stuckStep({ outcomes, offered }: Conversation, repeated: number): Step | undefined {
  if (repeated === 0) return undefined;
  const calls = outcomes
    .slice(-repeated)
    .filter((call) => offered.has(call.name))
    .map(({ name, input }) => ({ name, input }));
  return calls.length === 0 ? undefined : { text: "Once more.", calls };
}

/**
 * Decides what to answer to a request: a pure function of it. `repeated` is how many of the last tool calls are made
 * again in place of what the script wants; where there was none yet, the script goes on.
 */
export function decide(request: MessagesRequest, { repeated = 0 } = {}): Decision {
  const conversation = readConversation(request);
  const persona = findPersona(conversation.system);
  const step = stuckStep(conversation, repeated) ?? nextStep(persona, conversation);
  const forced = forcedCalls(request, asOffered(request, step?.calls ?? []));
  const alone =
    request.tool_choice !== undefined &&
    "disable_parallel_tool_use" in request.tool_choice &&
    request.tool_choice.disable_parallel_tool_use;
  const toolCalls = alone === true ? forced.slice(0, 1) : forced;
  const thinking = `(simulated thinking) ${persona.name}: ${toolCalls.length > 0 ? `next I use ${toolCalls.map((call) => call.name).join(", ")}` : "I have what I need and answer"}.`;
  if (toolCalls.length > 0) return { thinking, text: step?.text ?? "", toolCalls };
  return { thinking, text: formattedText(request) ?? persona.finish(conversation), toolCalls };
}

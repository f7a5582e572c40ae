import type Anthropic from "@anthropic-ai/sdk";
import { canonicalJson } from "../../platform/storable-json.ts";
import type { ContentBlock, ModelStep, Step, ToolStep, ToolUse } from "../step.ts";

type UserBlock = Anthropic.Messages.TextBlockParam | Anthropic.Messages.ToolResultBlockParam;

const GO_ON =
  "Your answer was cut at the output limit. Go on exactly where it stopped, in smaller parts.";
const CUT_CALL =
  "This call was not run: the answer was cut at the output limit before its input was complete. Send less at once, for example the file in smaller parts.";
/**
 * The last call of an answer that ended at the output limit is incomplete, whatever its input looks like: the stream
 * does not tell a finished input from one that was cut where it happened to be valid.
 */
function cutToolUse(step: ModelStep): ToolUse | undefined {
  const last = step.body.content.at(-1);
  return step.body.stop_reason === "max_tokens" && last?.type === "tool_use" ? last : undefined;
}

/** The tool calls of an answer that are to be run, in order. */
export function toolUsesOf(step: ModelStep): ToolUse[] {
  const cut = cutToolUse(step);
  return step.body.content.filter(
    (block): block is ToolUse => block.type === "tool_use" && block !== cut,
  );
}

/** The words of an answer. */
export function textOf(step: ModelStep): string {
  return step.body.content
    .flatMap((block) => (block.type === "text" ? [block.text] : []))
    .join("\n\n")
    .trim();
}

/** What may be sent back: the protocol refuses empty text, and thinking that was cut before its signature. */
function isReplayable(block: ContentBlock): boolean {
  if (block.type === "text") return block.text.trim() !== "";
  return block.type !== "thinking" || block.signature !== "";
}

function resultOf(step: ToolStep): UserBlock {
  return {
    type: "tool_result",
    tool_use_id: step.body.tool_use_id,
    content: step.body.content ?? "",
    ...(step.body.is_error === true ? { is_error: true } : {}),
  };
}

/** What the runtime itself has to say after an answer that was cut. */
function replyTo(step: ModelStep): UserBlock[] {
  const cut = cutToolUse(step);
  if (cut !== undefined)
    return [{ type: "tool_result", tool_use_id: cut.id, content: CUT_CALL, is_error: true }];
  const isCut = step.body.stop_reason === "max_tokens" && toolUsesOf(step).length === 0;
  return isCut ? [{ type: "text", text: GO_ON }] : [];
}

function firstMessage(task: { prompt: string; inputFileCount: number }): UserBlock[] {
  const count = task.inputFileCount;
  const files = count === 1 ? "One file lies" : `${count} files lie`;
  const note: UserBlock[] =
    count === 0 ? [] : [{ type: "text", text: `${files} under input/, read-only.` }];
  return [{ type: "text", text: task.prompt }, ...note];
}

/**
 * The conversation so far. A pure function of what is stored, always in the same key order: a resumed run sends the
 * very bytes that the first attempt sent, and so gets the answer that was already paid for.
 */
export function buildMessages(task: {
  prompt: string;
  inputFileCount: number;
  steps: readonly Step[];
}): Anthropic.Messages.MessageParam[] {
  const messages: Anthropic.Messages.MessageParam[] = [];
  let user = firstMessage(task);
  let reply: UserBlock[] = [];
  for (const step of task.steps) {
    if (step.kind === "tool") {
      user.push(resultOf(step));
      continue;
    }
    user.push(...reply);
    reply = replyTo(step);
    const content = step.body.content.filter(isReplayable);
    // An answer without content cannot be sent back; what was said on both sides of it becomes one message.
    if (content.length === 0) continue;
    messages.push({ role: "user", content: user }, { role: "assistant", content });
    user = [];
  }
  user.push(...reply);
  if (user.length > 0) messages.push({ role: "user", content: user });
  return canonicalJson(messages) as Anthropic.Messages.MessageParam[];
}

import type { ContentBlock, RequestMessage } from "./request-schema.ts";

function blocksOf(message: RequestMessage | undefined): readonly ContentBlock[] {
  return message === undefined || typeof message.content === "string" ? [] : message.content;
}

function toolUseIds(message: RequestMessage | undefined): string[] {
  return message?.role === "assistant"
    ? blocksOf(message).flatMap((block) => (block.type === "tool_use" ? [block.id] : []))
    : [];
}

function toolResultIds(message: RequestMessage | undefined): string[] {
  return message?.role === "user"
    ? blocksOf(message).flatMap((block) =>
        block.type === "tool_result" ? [block.tool_use_id] : [],
      )
    : [];
}

function misplacedBlock(message: RequestMessage, index: number): string | undefined {
  for (const [position, block] of blocksOf(message).entries()) {
    const place = `messages.${index}.content.${position}`;
    if (block.type === "tool_use" && message.role !== "assistant")
      return `${place}: \`tool_use\` blocks can only be in \`assistant\` messages`;
    if (block.type === "tool_result" && message.role !== "user")
      return `${place}: \`tool_result\` blocks can only be in \`user\` messages`;
  }
  return undefined;
}

/**
 * Checks what the schema cannot: who speaks first, and that every tool use is answered by the very next
 * message and every tool result answers one. Returns the provider's sentence, or undefined when all is well.
 */
export function checkConversation(messages: readonly RequestMessage[]): string | undefined {
  if (messages[0]?.role === "assistant") return 'messages: first message must use the "user" role';
  for (const [index, message] of messages.entries()) {
    const misplaced = misplacedBlock(message, index);
    if (misplaced !== undefined) return misplaced;
    const asked = toolUseIds(messages[index - 1]);
    const answered = toolResultIds(message);
    const stray = answered.find((id) => !asked.includes(id));
    if (stray !== undefined)
      return `messages.${index}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${stray}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`;
    if (new Set(answered).size !== answered.length)
      return `messages.${index}: each tool_use must have a single result`;
    const open = asked.filter((id) => !answered.includes(id));
    if (open.length > 0)
      return `messages.${index - 1}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${open.join(", ")}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`;
  }
  const unanswered = toolUseIds(messages.at(-1));
  return unanswered.length === 0
    ? undefined
    : `messages.${messages.length - 1}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${unanswered.join(", ")}.`;
}

import type { ContentBlock, MessagesRequest, RequestMessage } from "../protocol/request-schema.ts";

/** A tool call that came back, with what it said. */
export type ToolOutcome = {
  name: string;
  input: Record<string, unknown>;
  text: string;
  isError: boolean;
};

/** All that a script may look at. Scripts are pure functions of this value. */
export type Conversation = {
  system: string;
  /** What the human asked last. */
  prompt: string;
  /** Plain names of the tools that may be called in this answer. */
  offered: ReadonlySet<string>;
  /** Tool calls since that question, in order. */
  outcomes: readonly ToolOutcome[];
  /** Answers given since that question. */
  turns: number;
  /** How many bytes a file may have so that the call that writes it fits into `max_tokens`. */
  fileBytes: number;
};

function blocksOf(message: RequestMessage): readonly ContentBlock[] {
  return typeof message.content === "string"
    ? [{ type: "text", text: message.content }]
    : message.content;
}

function textOf(blocks: readonly { type: string; text?: unknown }[]): string {
  return blocks
    .flatMap((block) =>
      block.type === "text" && typeof block.text === "string" ? [block.text] : [],
    )
    .join("\n");
}

function isQuestion(message: RequestMessage): boolean {
  const blocks = blocksOf(message);
  return (
    message.role === "user" &&
    textOf(blocks) !== "" &&
    blocks.every((block) => block.type !== "tool_result")
  );
}

function systemText(request: MessagesRequest): string {
  const { system } = request;
  const top = typeof system === "string" ? system : textOf(system ?? []);
  const inline = request.messages.flatMap((message) =>
    message.role === "system" ? [textOf(blocksOf(message))] : [],
  );
  return [top, ...inline].join("\n");
}

/**
 * The name that the scripts know a tool by. Tools served over MCP carry their server's name in front
 * (`mcp__files__read_file`).
 */
export function plainToolName(name: string): string {
  return name.startsWith("mcp__") ? (name.split("__").at(-1) ?? name) : name;
}

function outcomesIn(messages: readonly RequestMessage[]): ToolOutcome[] {
  const blocks = messages.flatMap((message) => blocksOf(message));
  const results = new Map(
    blocks.flatMap((block) =>
      block.type === "tool_result" ? [[block.tool_use_id, block] as const] : [],
    ),
  );
  return blocks.flatMap((block) => {
    if (block.type !== "tool_use") return [];
    const result = results.get(block.id);
    if (result === undefined) return [];
    const { content } = result;
    const text = typeof content === "string" ? content : textOf(content ?? []);
    return [
      {
        name: plainToolName(block.name),
        input: block.input,
        text,
        isError: result.is_error === true,
      },
    ];
  });
}

/** Room that is kept free in `max_tokens` for the words around a file. */
const SPARE_TOKENS = 400;

/** Reads a request the way a script wants to see it. */
export function readConversation(request: MessagesRequest): Conversation {
  const { messages } = request;
  const start = Math.max(
    messages.findLastIndex((message) => isQuestion(message)),
    0,
  );
  const since = messages.slice(start);
  const tools = request.tool_choice?.type === "none" ? [] : (request.tools ?? []);
  return {
    system: systemText(request),
    prompt: since[0] === undefined ? "" : textOf(blocksOf(since[0])),
    offered: new Set(tools.map((tool) => plainToolName(tool.name))),
    outcomes: outcomesIn(since),
    turns: since.filter((message) => message.role === "assistant").length,
    // Three bytes a token leave room for the escapes of JSON.
    fileBytes: Math.max(200, (request.max_tokens - SPARE_TOKENS) * 3),
  };
}

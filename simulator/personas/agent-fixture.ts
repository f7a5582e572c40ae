import type Anthropic from "@anthropic-ai/sdk";
import { parseDelimited } from "../evidence/delimited.ts";

/** A small agent for tests: the official client in a loop, with tools over files in memory. */
type Files = Map<string, string>;
type ToolReply = { text: string; isError?: boolean };
type Handler = (input: Record<string, unknown>, files: Files) => ToolReply;

export type AgentRun = {
  /** Every call in order, as `tool path`. */
  calls: string[];
  toolNames: string[];
  texts: string[];
  answer: string;
  files: Files;
  turns: number;
  requests: Anthropic.MessageCreateParamsNonStreaming[];
};

const json = (value: unknown): ToolReply => ({ text: JSON.stringify(value) });
const missing = (path: unknown): ToolReply => ({ text: `No file ${textOf(path)}`, isError: true });

function profile(path: string, content: string): ToolReply {
  const [header = [], ...rows] = parseDelimited(content, ",");
  const columns = header.map((name, index) => {
    const values = rows.map((row) => row[index] ?? "").filter((value) => value !== "");
    const numbers = values.map(Number);
    const numeric = values.length > 0 && numbers.every((value) => Number.isFinite(value));
    return {
      name,
      type: numeric ? "DOUBLE" : "VARCHAR",
      null_count: rows.length - values.length,
      distinct_count: new Set(values).size,
      min: numeric ? Math.min(...numbers) : null,
      max: numeric ? Math.max(...numbers) : null,
      mean: numeric ? numbers.reduce((sum, value) => sum + value, 0) / numbers.length : null,
      top: [...new Set(values)]
        .slice(0, 5)
        .map((value) => ({ value, count: values.filter((other) => other === value).length })),
    };
  });
  const distinctRows = new Set(rows.map((row) => row.join("\u0000"))).size;
  return json({
    path,
    format: "csv",
    row_count: rows.length,
    column_count: header.length,
    columns,
    duplicate_row_count: rows.length - distinctRows,
    issues: [],
  });
}

const HANDLERS: Record<string, Handler> = {
  list_files: (_input, files) =>
    json({
      entries: [...files].map(([path, text]) => ({
        path,
        type: "file",
        size_bytes: Buffer.byteLength(text),
      })),
      truncated: false,
    }),
  read_file: (input, files) => {
    const content = files.get(textOf(input["path"]));
    if (content === undefined) return missing(input["path"]);
    const lines = content.replace(/\n$/, "").split("\n");
    const start = Number(input["offset"] ?? 1) - 1;
    const page = lines.slice(start, start + Number(input["limit"] ?? 200));
    return json({
      path: input["path"],
      content: page.join("\n"),
      total_lines: lines.length,
      truncated: start + page.length < lines.length,
    });
  },
  search_files: (input, files) => {
    const matches = [...files].flatMap(([path, text]) =>
      text
        .split("\n")
        .flatMap((line, index) =>
          line.includes(textOf(input["query"])) ? [{ path, line: index + 1, text: line }] : [],
        ),
    );
    return json({ matches, truncated: false });
  },
  write_file: (input, files) => {
    files.set(textOf(input["path"]), textOf(input["content"]));
    return json({ path: input["path"], size_bytes: Buffer.byteLength(textOf(input["content"])) });
  },
  profile_data: (input, files) => {
    const content = files.get(textOf(input["path"]));
    return content === undefined ? missing(input["path"]) : profile(textOf(input["path"]), content);
  },
  send_message: () => json({ message_id: "msg_1" }),
  check_inbox: () =>
    json({
      messages: [{ id: "m1", from: "sable", subject: "Mind the dates", body: "They are in UTC." }],
    }),
  delegate_task: () =>
    json({
      task_id: "task_1",
      state: "succeeded",
      result: "input/orders.csv has 4 rows; one amount is missing.",
    }),
  ask_human: () => json({ answer: "Leave out the year 2020." }),
};

function inputOf(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" ? { ...value } : {};
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** Definitions of the tools with these names. */
export function toolDefinitions(names: readonly string[]): Anthropic.Tool[] {
  return names.map((name) => ({
    name,
    description: `The tool ${name}.`,
    input_schema: { type: "object" },
  }));
}

export const FILE_TOOLS = ["list_files", "read_file", "search_files", "write_file", "profile_data"];
export const ALL_TOOLS = Object.keys(HANDLERS);

export const SYSTEM_PROMPTS = {
  marcus: "You are Marcus Bell, chief executive.",
  sable: "You are Sable Chen, principal engineer.",
  devonte: "You are DeVonte Jackson, full-stack developer.",
  yuki: "You are Yuki Tanaka, site reliability engineer.",
  gray: 'You are Graham "Gray" Sutton, data engineer.',
} as const;

/** Runs a task to its end, as a runtime would. `broken` makes tools fail, `maxTurns` guards the test. */
export async function runAgent(input: {
  client: Anthropic;
  agent: keyof typeof SYSTEM_PROMPTS;
  prompt: string;
  files?: Record<string, string>;
  tools?: readonly string[];
  broken?: Record<string, (input: Record<string, unknown>) => boolean>;
  maxTokens?: number;
}): Promise<AgentRun> {
  const files: Files = new Map(Object.entries(input.files ?? {}));
  const messages: Anthropic.MessageParam[] = [{ role: "user", content: input.prompt }];
  const run: AgentRun = {
    calls: [],
    toolNames: [],
    texts: [],
    answer: "",
    files,
    turns: 0,
    requests: [],
  };
  for (;;) {
    const request = {
      model: "claude-sonnet-5-5",
      max_tokens: input.maxTokens ?? 8_192,
      system: SYSTEM_PROMPTS[input.agent],
      tools: toolDefinitions(input.tools ?? FILE_TOOLS),
      messages: [...messages],
    };
    run.requests.push(request);
    run.turns += 1;
    const message = await input.client.messages.create(request);
    messages.push({ role: "assistant", content: message.content });
    for (const block of message.content) if (block.type === "text") run.texts.push(block.text);
    const results: Anthropic.ToolResultBlockParam[] = [];
    for (const block of message.content) {
      if (block.type !== "tool_use") continue;
      const toolInput = inputOf(block.input);
      run.calls.push(`${block.name} ${textOf(toolInput["path"])}`.trim());
      run.toolNames.push(block.name);
      const fails = input.broken?.[block.name]?.(toolInput) === true;
      const reply = fails
        ? { text: `${block.name} is broken today`, isError: true }
        : (HANDLERS[block.name]?.(toolInput, files) ?? missing(block.name));
      results.push({
        type: "tool_result",
        tool_use_id: block.id,
        content: reply.text,
        is_error: reply.isError === true,
      });
    }
    if (results.length === 0) return { ...run, answer: run.texts.at(-1) ?? "" };
    messages.push({ role: "user", content: results });
  }
}

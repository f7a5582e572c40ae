import { z } from "zod";
import { findModel } from "../metering/prices.ts";
import type { SimulatedModel } from "../metering/prices.ts";
import type { Problem } from "./problem.ts";
import { problem } from "./problem.ts";
import { checkConversation } from "./turn-order.ts";

const cacheControl = z.object({
  type: z.literal("ephemeral"),
  ttl: z.enum(["5m", "1h"]).optional(),
});
const cacheable = { cache_control: cacheControl.nullish() };

const textBlock = z.looseObject({
  type: z.literal("text"),
  text: z.string().min(1, "text content blocks must be non-empty"),
  ...cacheable,
});
const mediaSource = z.looseObject({ type: z.enum(["base64", "url", "text", "file", "content"]) });
const imageBlock = z.looseObject({ type: z.literal("image"), source: mediaSource, ...cacheable });
const documentBlock = z.looseObject({
  type: z.literal("document"),
  source: mediaSource,
  ...cacheable,
});
const searchResultBlock = z.looseObject({ type: z.literal("search_result"), ...cacheable });
const thinkingBlock = z.looseObject({
  type: z.literal("thinking"),
  thinking: z.string(),
  signature: z.string(),
});
const redactedThinkingBlock = z.looseObject({
  type: z.literal("redacted_thinking"),
  data: z.string(),
});
const toolUseBlock = z.looseObject({
  type: z.literal("tool_use"),
  id: z.string().regex(/^[a-zA-Z0-9_-]+$/),
  name: z.string().min(1),
  input: z.record(z.string(), z.unknown()),
  ...cacheable,
});
const toolResultContent = z.discriminatedUnion("type", [
  textBlock,
  imageBlock,
  documentBlock,
  searchResultBlock,
]);
const toolResultBlock = z.looseObject({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: z.union([z.string(), z.array(toolResultContent)]).optional(),
  is_error: z.boolean().optional(),
  ...cacheable,
});

const contentBlock = z.discriminatedUnion("type", [
  textBlock,
  imageBlock,
  documentBlock,
  searchResultBlock,
  thinkingBlock,
  redactedThinkingBlock,
  toolUseBlock,
  toolResultBlock,
]);

const message = z.object({
  role: z.enum(["user", "assistant", "system"]),
  content: z.union([
    z.string().min(1, "messages must have non-empty content"),
    z.array(contentBlock).min(1),
  ]),
});

const tool = z.looseObject({
  type: z.string().nullish(),
  name: z.string().regex(/^[a-zA-Z0-9_-]{1,128}$/),
  description: z.string().optional(),
  input_schema: z.looseObject({ type: z.literal("object") }).optional(),
  ...cacheable,
});

const toolChoice = z.discriminatedUnion("type", [
  z.object({ type: z.literal("auto"), disable_parallel_tool_use: z.boolean().optional() }),
  z.object({ type: z.literal("any"), disable_parallel_tool_use: z.boolean().optional() }),
  z.object({
    type: z.literal("tool"),
    name: z.string(),
    disable_parallel_tool_use: z.boolean().optional(),
  }),
  z.object({ type: z.literal("none") }),
]);

const display = { display: z.enum(["summarized", "omitted"]).nullish() };
const thinking = z.discriminatedUnion("type", [
  z.object({ type: z.literal("enabled"), budget_tokens: z.int().min(1_024), ...display }),
  z.object({ type: z.literal("adaptive"), ...display }),
  z.object({ type: z.literal("between_tools") }),
  z.object({ type: z.literal("disabled") }),
]);

const common = {
  model: z.string().min(1),
  messages: z.array(message).min(1, "at least one message is required"),
  system: z.union([z.string(), z.array(textBlock)]).optional(),
  tools: z.array(tool).optional(),
  tool_choice: toolChoice.optional(),
  thinking: thinking.optional(),
  cache_control: cacheControl.nullish(),
  output_config: z.looseObject({}).optional(),
};

const countRequest = z.looseObject(common);
const messagesRequest = z.looseObject({
  ...common,
  max_tokens: z.int().min(1),
  stream: z.boolean().optional(),
  stop_sequences: z.array(z.string().min(1)).optional(),
  metadata: z.looseObject({ user_id: z.string().nullish() }).optional(),
  temperature: z.number().min(0).max(1).optional(),
});

/** Fields of the protocol that the simulator accepts and that change nothing here. */
const IGNORED_FIELDS = new Set([
  "container",
  "diagnostics",
  "inference_geo",
  "service_tier",
  "speed",
  "top_k",
  "top_p",
  "user_profile_id",
  "workspace_id",
]);
const COUNT_FIELDS = new Set([...Object.keys(common), ...IGNORED_FIELDS]);
const MESSAGES_FIELDS = new Set([...Object.keys(messagesRequest.shape), ...IGNORED_FIELDS]);

export type ContentBlock = z.infer<typeof contentBlock>;
export type RequestMessage = z.infer<typeof message>;
export type RequestTool = z.infer<typeof tool>;
export type CountRequest = z.infer<typeof countRequest>;
export type MessagesRequest = z.infer<typeof messagesRequest>;
type Parsed<T> = { ok: true; request: T; model: SimulatedModel } | { ok: false; problem: Problem };

function invalid(text: string): { ok: false; problem: Problem } {
  return { ok: false, problem: problem(400, text) };
}

function describe(error: z.ZodError): string {
  const issue = error.issues[0];
  const field = issue?.path.join(".") ?? "";
  return field === ""
    ? (issue?.message ?? "invalid request")
    : `${field}: ${issue?.message ?? "invalid value"}`;
}

/** Server tools run at the provider and cost fees there; nothing here could run them. */
const SERVER_TOOL =
  /^(web_search|web_fetch|code_execution|bash_code_execution|advisor|tool_search_tool|mcp)_/;

function toolsProblem(request: CountRequest): string | undefined {
  const names = (request.tools ?? []).map((entry) => entry.name);
  if (new Set(names).size !== names.length) return "tools: Tool names must be unique.";
  for (const [index, entry] of (request.tools ?? []).entries()) {
    const custom = entry.type === undefined || entry.type === null || entry.type === "custom";
    if (custom && entry.input_schema === undefined)
      return `tools.${index}.custom.input_schema: Field required`;
    if (SERVER_TOOL.test(entry.type ?? ""))
      return `tools.${index}.type: this simulated provider has no server tools (${entry.type})`;
  }
  const choice = request.tool_choice;
  if (choice === undefined || choice.type === "none") return undefined;
  if (names.length === 0) return "tool_choice may only be specified while providing tools.";
  if (choice.type === "tool" && !names.includes(choice.name))
    return `Tool '${choice.name}' not found in provided tools`;
  const forced = choice.type === "any" || choice.type === "tool";
  const thinks = request.thinking?.type === "enabled" || request.thinking?.type === "adaptive";
  return forced && thinks
    ? "Thinking may not be enabled when tool_choice forces tool use."
    : undefined;
}

function validate<T extends CountRequest>(input: {
  schema: z.ZodType<T>;
  fields: ReadonlySet<string>;
  body: unknown;
  beta: boolean;
}): Parsed<T> {
  const parsed = input.schema.safeParse(input.body);
  if (!parsed.success) return invalid(describe(parsed.error));
  const request = parsed.data;
  const extra = input.beta ? undefined : Object.keys(request).find((key) => !input.fields.has(key));
  if (extra !== undefined) return invalid(`${extra}: Extra inputs are not permitted`);
  const model = findModel(request.model);
  if (model === undefined) return { ok: false, problem: problem(404, `model: ${request.model}`) };
  const fault = checkConversation(request.messages) ?? toolsProblem(request);
  return fault === undefined ? { ok: true, request, model } : invalid(fault);
}

/** Checks the body of `POST /v1/messages/count_tokens`. `beta` says that an anthropic-beta header came along, with which unknown fields pass. */
export function parseCountRequest(body: unknown, beta: boolean): Parsed<CountRequest> {
  return validate({ schema: countRequest, fields: COUNT_FIELDS, body, beta });
}

/** Checks the body of `POST /v1/messages`; every refusal is the provider's 400 or 404. */
export function parseMessagesRequest(body: unknown, beta: boolean): Parsed<MessagesRequest> {
  const parsed = validate({ schema: messagesRequest, fields: MESSAGES_FIELDS, body, beta });
  if (!parsed.ok) return parsed;
  const { request, model } = parsed;
  if (request.max_tokens > model.maxOutputTokens)
    return invalid(
      `max_tokens: ${request.max_tokens} > ${model.maxOutputTokens}, which is the maximum allowed number of output tokens for ${model.id}`,
    );
  if (request.thinking?.type === "enabled" && request.thinking.budget_tokens >= request.max_tokens)
    return invalid("`max_tokens` must be greater than `thinking.budget_tokens`.");
  return parsed;
}

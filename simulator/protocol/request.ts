import type { z } from "zod";
import { findModel } from "../metering/prices.ts";
import type { SimulatedModel } from "../metering/prices.ts";
import type { Problem } from "./problem.ts";
import { problem } from "./problem.ts";
import {
  common,
  countRequest,
  type CountRequest,
  messagesRequest,
  type MessagesRequest,
} from "./request-schema.ts";
import { checkConversation } from "./turn-order.ts";

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

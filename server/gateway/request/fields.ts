import type { AppError } from "../../platform/errors.ts";
import { gatewayError, invalidRequest } from "../errors.ts";
import type { Json, JsonObject } from "./strict-json.ts";

/** Fields that the answer does not need. They are removed and named, so that ordinary clients keep working. */
export const OPTIONAL_FIELDS: ReadonlySet<string> = new Set(["context_management", "diagnostics"]);

const FALLBACK = "a fallback model would be billed beside the one that was asked for";
const OTHER_PAYER = "who pays, and from which limits, is decided here";

/** Why a field that the protocol knows is refused. */
export const DANGEROUS_FIELDS: Readonly<Record<string, string>> = {
  billing_policy: OTHER_PAYER,
  compaction: "a summary is sampled beside the answer, with all of the conversation as its input",
  container: "containers belong to code execution, whose fees no hold covers",
  fallbacks: FALLBACK,
  fallback_credit_token: FALLBACK,
  mcp_servers: "the provider would call servers on its own, with results billed as further input",
  thread:
    "the provider would add turns that were not sent along, so the input has no bound; send the whole conversation",
  user_profile_id: OTHER_PAYER,
  workspace_id: OTHER_PAYER,
};

function dangerous(name: string): AppError {
  const message = `not accepted: ${DANGEROUS_FIELDS[name]}`;
  if (name !== "thread") return invalidRequest(name, message);
  // By these details the tool runners of the official clients know that they have to send the whole conversation.
  return gatewayError({
    status: 400,
    code: "invalid_request",
    message: `${name}: ${message}`,
    details: { field: name, error_code: "thread_unsupported_request", unsupported: [name] },
  });
}

export type SortedFields =
  | { status: "sorted"; fields: JsonObject; dropped: string[] }
  | { status: "refused"; error: AppError };

/** Takes out of a parsed body what it does not need, and refuses what must not be in it. */
export function sortFields(value: Json): SortedFields {
  if (value === null || typeof value !== "object" || Array.isArray(value))
    return {
      status: "refused",
      error: invalidRequest("", "The request body must be a JSON object."),
    };
  const dropped: string[] = [];
  for (const name of Object.keys(value)) {
    if (OPTIONAL_FIELDS.has(name)) {
      dropped.push(name);
      delete value[name];
    } else if (Object.hasOwn(DANGEROUS_FIELDS, name)) {
      // Official clients send some of these as null when they are not used.
      if (value[name] !== null) return { status: "refused", error: dangerous(name) };
      delete value[name];
    }
  }
  return { status: "sorted", fields: value, dropped };
}

import { AppError } from "../platform/errors.ts";
import type { BudgetRefusal } from "./budget/budget-refusal.ts";

/** The catalogue of what the gateway itself answers. Codes never change; clients and the runtimes branch on them. */
export type GatewayErrorInit = {
  /** HTTP status. */
  status: number;
  /** `error.type` of the Messages protocol; derived from the status when absent. */
  type?: string;
  /** `error.code`, our own addition to the protocol's error object. */
  code: string;
  message: string;
  details?: Readonly<Record<string, unknown>>;
  internal?: string;
  cause?: unknown;
  retryAfterMs?: number;
  /** Says `x-should-retry: false`, so that the official clients do not multiply the gateway's own tries. */
  final?: boolean;
};

const TYPE_OF_STATUS: ReadonlyMap<number, string> = new Map([
  [400, "invalid_request_error"],
  [401, "authentication_error"],
  [403, "permission_error"],
  [404, "not_found_error"],
  [413, "request_too_large"],
  [429, "rate_limit_error"],
  [504, "timeout_error"],
  [529, "overloaded_error"],
]);

/** The `error.type` that the Messages protocol gives to a status. */
export function errorTypeOf(status: number): string {
  return (
    TYPE_OF_STATUS.get(status) ??
    (status >= 400 && status < 500 ? "invalid_request_error" : "api_error")
  );
}

/** An AppError that carries what the Messages error shape needs. */
export function gatewayError(init: GatewayErrorInit): AppError {
  return new AppError({
    code: init.code,
    status: init.status,
    publicMessage: init.message,
    ...(init.internal === undefined ? {} : { internal: init.internal }),
    ...(init.retryAfterMs === undefined
      ? {}
      : { retryAfterMs: init.retryAfterMs, retryable: true }),
    cause: init.cause,
    extensions: {
      type: init.type ?? errorTypeOf(init.status),
      ...(init.details === undefined ? {} : { details: init.details }),
      ...(init.final === true ? { final: true } : {}),
    },
  });
}

/** 400 that names the offending field. */
export function invalidRequest(field: string, message: string): AppError {
  return gatewayError({
    status: 400,
    code: "invalid_request",
    message: field === "" ? message : `${field}: ${message}`,
    ...(field === "" ? {} : { details: { field } }),
  });
}

/** 400 for a model that the price table does not know: no hold can be made for it. */
export function modelNotPriced(model: string): AppError {
  return gatewayError({
    status: 400,
    code: "model_not_priced",
    message: `model: ${JSON.stringify(model.slice(0, 100))} is not in the price table, so its cost cannot be limited. Use the exact id of a priced model.`,
    details: { field: "model" },
  });
}

/** 401: what was sent is neither a run token nor an API key. */
export function tokenMissing(): AppError {
  return gatewayError({
    status: 401,
    code: "run_token_required",
    message:
      "Send an API key with the scope models:invoke, or a run token, as x-api-key or as a bearer token.",
  });
}

/** 401: the key is unknown, was revoked or has ended. */
export function apiKeyRefused(): AppError {
  return gatewayError({
    status: 401,
    code: "api_key_invalid",
    message: "This API key is not valid: it is unknown, was revoked or has ended.",
  });
}

/** 403: a valid key that was not made for model calls, or whose maker may not make them any more. */
export function scopeMissing(): AppError {
  return gatewayError({
    status: 403,
    code: "scope_missing",
    message:
      "This API key does not have the scope models:invoke. Make one that has it, for example with `guildhall gateway env`.",
    details: { scope: "models:invoke" },
  });
}

/** 401: the token's attempt does not hold the lease of its run any more (or never did). */
export function runNotActive(): AppError {
  return gatewayError({
    status: 401,
    code: "run_not_active",
    message:
      "This run token is not valid now: its run ended, was paused, or moved to another worker.",
  });
}

/** 402: no budget level has room, or the run has used up its calls. Never a 429, which clients would retry. */
export function budgetRefused(refusal: BudgetRefusal): AppError {
  return gatewayError({
    status: 402,
    type: refusal.type,
    code: refusal.code,
    message: refusal.message,
    details: refusal.details,
    final: true,
  });
}

/** 503: what has to be asked of the database, or written to it, before a call cannot be. */
export function databaseUnavailable(what: string, cause?: unknown): AppError {
  return gatewayError({
    status: 503,
    code: "database_unavailable",
    message: `${what} No call is started without a durable hold. Try again later.`,
    cause,
    retryAfterMs: 5_000,
  });
}

/** What goes over the wire for an error. */
export type RenderedError = {
  status: number;
  headers: Record<string, string>;
  body: { type: "error"; error: Record<string, unknown>; request_id: string };
};

/** Renders any error in the Messages error shape. What is not an AppError tells the client nothing about itself. */
export function renderError(error: unknown, requestId: string): RenderedError {
  const known =
    error instanceof AppError
      ? error
      : gatewayError({
          status: 500,
          code: "internal_error",
          message: "The gateway failed. Try again.",
        });
  const { type, details, final } = known.extensions;
  const headers: Record<string, string> = { "request-id": requestId };
  if (known.retryAfterMs !== undefined)
    headers["retry-after"] = String(Math.max(1, Math.ceil(known.retryAfterMs / 1_000)));
  if (final === true) headers["x-should-retry"] = "false";
  return {
    status: known.status,
    headers,
    body: {
      type: "error",
      error: {
        type: typeof type === "string" ? type : errorTypeOf(known.status),
        message: known.publicMessage,
        code: known.code,
        ...(details === undefined ? {} : { details }),
      },
      request_id: requestId,
    },
  };
}

import { STATUS_CODES } from "node:http";
import type { Problem } from "@guildhall/sdk/contract/problem.ts";
import type { FastifyError } from "fastify";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import { AppError, type FieldProblem } from "./errors.ts";

/** Media type of every error answer (RFC 9457). */
export const PROBLEM_TYPE = "application/problem+json";

type Issue = { keyword: string; instancePath: string; message?: string; params: unknown };

/** What the framework refuses before a route sees the request: [code, what was wrong, what to do]. */
const frameworkProblems: Record<string, readonly [string, string, string]> = {
  FST_ERR_CTP_BODY_TOO_LARGE: [
    "body_too_large",
    "The request body is larger than 1 MB.",
    "Send files through POST /v1/uploads and shorten the rest.",
  ],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    "unsupported_media_type",
    "The route does not read this content type.",
    "Send JSON with `content-type: application/json`.",
  ],
  FST_ERR_CTP_INVALID_JSON_BODY: [
    "invalid_json",
    "The request body is not acceptable JSON.",
    "Send one JSON document in UTF-8, without the keys __proto__ and constructor.",
  ],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    "bad_request",
    "The body has not the length that Content-Length says.",
    "Let your HTTP client set Content-Length.",
  ],
  FST_ERR_BAD_URL: ["bad_url", "The address is not a valid URL.", "Percent-encode it as UTF-8."],
};

/** `/limits/0/amount` -> `limits.0.amount`; the root is named by where it lies (body, querystring, ...). */
function dotted(path: string, root: string): string {
  const name = path.split("/").filter(Boolean).join(".");
  return name === "" ? root : name;
}

function unknownKeys(params: unknown): string[] {
  const keys: unknown =
    typeof params === "object" && params !== null && "keys" in params ? params.keys : [];
  return Array.isArray(keys) ? keys.map(String) : [];
}

function toFields(issues: readonly Issue[], root: string): FieldProblem[] {
  return issues.flatMap((issue) => {
    const field = dotted(issue.instancePath, root);
    if (issue.keyword !== "unrecognized_keys")
      return [{ field, message: issue.message ?? "is not valid" }];
    return unknownKeys(issue.params).map((key) => ({
      field: field === root ? key : `${field}.${key}`,
      message: "There is no such field.",
    }));
  });
}

/** 400 `validation_failed`: every offending field with what is wrong with it. */
export function validationFailed(fields: readonly FieldProblem[]): AppError {
  return new AppError({
    code: "validation_failed",
    status: 400,
    publicMessage: `The request is not valid: ${fields.map((f) => `${f.field}: ${f.message}`).join("; ")}`,
    hint: "Correct the fields and send the request again; nothing was changed.",
    fields,
  });
}

function fromFramework(error: FastifyError): AppError | undefined {
  const known = frameworkProblems[error.code];
  const status = error.statusCode ?? 500;
  if (known) {
    const [code, publicMessage, hint] = known;
    return new AppError({ code, status, publicMessage, hint, cause: error });
  }
  if (status < 400 || status >= 500) return undefined;
  return new AppError({
    code: "bad_request",
    status,
    publicMessage: "The request could not be read.",
    cause: error,
  });
}

/** Whatever was thrown, as the error that the edge answers with. What is not expected says nothing of its inside. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const issues: readonly Issue[] = error.validation;
    return validationFailed(toFields(issues, error.validationContext ?? "request"));
  }
  const isFramework = error instanceof Error && "statusCode" in error;
  const known = isFramework ? fromFramework(error as FastifyError) : undefined;
  return (
    known ??
    new AppError({
      code: "internal_error",
      status: 500,
      publicMessage: "Something failed on our side. It was logged under the request id.",
      hint: "Try again; if it stays, tell the operator the request id.",
      cause: error,
    })
  );
}

/** The problem document of an error (RFC 9457); its `type` is a page of this server that explains the code. */
export function toProblem(error: AppError, requestId: string): Problem {
  return {
    ...error.extensions,
    type: `/docs/errors#${error.code}`,
    title: STATUS_CODES[error.status] ?? "Error",
    status: error.status,
    code: error.code,
    detail: error.publicMessage,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(error.fields.length === 0 ? {} : { errors: error.fields.map((field) => ({ ...field })) }),
    request_id: requestId,
  };
}

/** Headers that belong to the answer of this error. */
export function problemHeaders(error: AppError): Record<string, string> {
  const headers: Record<string, string> = { "content-type": PROBLEM_TYPE };
  if (error.status === 401) headers["www-authenticate"] = 'Bearer realm="guildhall"';
  if (error.retryable || error.retryAfterMs !== undefined)
    headers["retry-after"] = String(Math.max(1, Math.ceil((error.retryAfterMs ?? 1_000) / 1_000)));
  return headers;
}

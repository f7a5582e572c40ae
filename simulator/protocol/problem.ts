/** An error of the Messages protocol: its HTTP status, its type on the wire, and text for the caller. */
export type Problem = {
  status: number;
  type: string;
  message: string;
  retryAfterSeconds?: number;
};

const TYPE_BY_STATUS: ReadonlyMap<number, string> = new Map([
  [400, "invalid_request_error"],
  [401, "authentication_error"],
  [403, "permission_error"],
  [404, "not_found_error"],
  [413, "request_too_large"],
  [429, "rate_limit_error"],
  [500, "api_error"],
  [503, "api_error"],
  [504, "timeout_error"],
  [529, "overloaded_error"],
]);

/** Builds a problem; the wire type follows from the status. */
export function problem(status: number, message: string): Problem {
  return { status, type: TYPE_BY_STATUS.get(status) ?? "api_error", message };
}

/** The body of an error response. */
export function problemJson(failure: Problem, requestId: string): unknown {
  return {
    type: "error",
    error: { type: failure.type, message: failure.message },
    request_id: requestId,
  };
}

import { type Problem, problemSchema } from "../contract/problem.ts";

/** The server answered with a problem document (RFC 9457). Branch on `code`. */
export class GuildhallError extends Error {
  override readonly name = "GuildhallError";
  readonly status: number;
  readonly code: string;
  readonly problem: Problem;
  /** How long the server asked to wait before another try; undefined when it did not say. */
  readonly retryAfterMs: number | undefined;

  constructor(problem: Problem, retryAfterMs?: number) {
    super(problem.detail);
    this.retryAfterMs = retryAfterMs;
    this.status = problem.status;
    this.code = problem.code;
    this.problem = problem;
  }
}

/** The server could not be reached, or what answered is not Guildhall. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** What `Retry-After` asks for, in seconds or as a date (RFC 9110 section 10.2.3); undefined when it says nothing. */
export function retryAfterMs(field: string | null, nowMs: number): number | undefined {
  const text = field?.trim() ?? "";
  const askedMs = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - nowMs;
  return Number.isNaN(askedMs) ? undefined : Math.max(0, askedMs);
}

/** Reads the problem document of an error answer; a foreign body (a proxy's page, say) becomes one too. */
export async function toGuildhallError(response: Response): Promise<GuildhallError> {
  const body: unknown = await response.json().catch(() => undefined);
  const parsed = problemSchema.safeParse(body);
  const waitMs = retryAfterMs(response.headers.get("retry-after"), Date.now());
  if (parsed.success) return new GuildhallError(parsed.data, waitMs);
  const problem: Problem = {
    type: "about:blank",
    title: response.statusText,
    status: response.status,
    code: "unexpected_answer",
    detail: `The server answered ${response.status} without a problem document.`,
    request_id: response.headers.get("x-request-id") ?? "",
  };
  return new GuildhallError(problem, waitMs);
}

import { type Problem, problemSchema } from "../contract/problem.ts";

/** The server answered with a problem document (RFC 9457). Branch on `code`. */
export class GuildhallError extends Error {
  override readonly name = "GuildhallError";
  readonly status: number;
  readonly code: string;
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.status = problem.status;
    this.code = problem.code;
    this.problem = problem;
  }
}

/** The server could not be reached, or what answered is not Guildhall. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** Reads the problem document of an error answer; a foreign body (a proxy's page, say) becomes one too. */
export async function toGuildhallError(response: Response): Promise<GuildhallError> {
  const body: unknown = await response.json().catch(() => undefined);
  const parsed = problemSchema.safeParse(body);
  if (parsed.success) return new GuildhallError(parsed.data);
  return new GuildhallError({
    type: "about:blank",
    title: response.statusText,
    status: response.status,
    code: "unexpected_answer",
    detail: `The server answered ${response.status} without a problem document.`,
    request_id: response.headers.get("x-request-id") ?? "",
  });
}
